"""Files of deploy/: what their schemas and linters say, and that they agree with the server."""

from __future__ import annotations

import copy
import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from vitseg.serve.limits import OPEN
from vitseg.serve.settings import ServeSettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
VERSIONS = ("1.30", kubernetes_validate.latest_version())
OBJECTS = {
    each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
}
SERVICE = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serve"]
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
PREDICTOR = SERVICE["spec"]["predictor"]
PREDICTOR_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
"""Fields of a predictor of KServe (v1beta1) that are used; the others of it are those of a pod."""


def pod_of_kserve() -> dict[str, Any]:
    spec = {name: value for name, value in PREDICTOR.items() if name not in PREDICTOR_FIELDS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vitseg"}, "spec": spec}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OBJECTS)
def test_kubernetes_takes_the_objects(kind, version):
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_pod_of_the_predictor(version):
    kubernetes_validate.validate(pod_of_kserve(), version, strict=True)
    assert SERVICE["apiVersion"] == "serving.kserve.io/v1beta1"
    assert SERVICE["kind"] == "InferenceService"
    assert [one["name"] for one in PREDICTOR["containers"]] == ["kserve-container"]


def test_an_unknown_field_is_seen():
    wrong = copy.deepcopy(OBJECTS["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readonly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("pod", [POD, PREDICTOR], ids=["deployment", "kserve"])
def test_pods_have_no_rights(pod):
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.mark.parametrize("pod", [POD, PREDICTOR], ids=["deployment", "kserve"])
def test_pods_agree_with_the_server(pod):
    (container,) = pod["containers"]
    port = container["ports"][0]["containerPort"]
    probes = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
    }
    assert {probe["path"] for probe in probes.values()} <= set(OPEN)  # they have no key
    assert probes["liveness"]["path"].endswith("live")
    assert probes["readiness"]["path"].endswith("ready")
    assert {probe["port"] for probe in probes.values()} <= {port, container["ports"][0]["name"]}
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + ServeSettings().grace + 8
    # a request is never given more than what is left to it at the end
    assert ServeSettings().grace >= ServeSettings().timeout


def test_objects_agree_with_each_other():
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "vitseg"
    assert "replicas" not in OBJECTS["Deployment"]["spec"]  # each apply would set it back
    notes = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(POD["containers"][0]["ports"][0]["containerPort"])


def test_the_autoscaler_asks_for_a_number_that_the_server_gives():
    source = DEPLOY.parent / "src" / "vitseg" / "serve" / "service.py"
    (metric,) = OBJECTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert f'"{metric["pods"]["metric"]["name"]}"' in source.read_text()


@pytest.mark.parametrize(
    "words",
    [POD["containers"][0]["args"], PREDICTOR["containers"][0]["args"], COMPOSE["command"]],
    ids=["kubernetes", "kserve", "compose"],
)
def test_options_exist(words):
    import typer

    from vitseg.cli.app import app

    verb = typer.main.get_command(app).commands["serve"]  # pyright: ignore[reportAttributeAccessIssue]
    known = {option for one in verb.params for option in one.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_compose_gives_no_rights():
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert COMPOSE["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["ports"])
    assert all(volume["read_only"] for volume in COMPOSE["volumes"])
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) >= ServeSettings().grace + 8
    assert {"mem_limit", "cpus", "pids_limit"} <= COMPOSE.keys()


def test_the_image_runs_as_a_number_that_is_not_root():
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert 0 not in map(int, user)
    assert COMPOSE["user"] == ":".join(user)
    assert POD["securityContext"]["runAsUser"] == int(user[0])
    assert "://" not in DOCKERFILE.replace("http://127.0.0.1:8000/", "")  # no place of packages
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (DEPLOY.parent / source).exists()
            assert f"!{source}\n" in (DEPLOY.parent / ".dockerignore").read_text()


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_of_the_image(status):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path in OPEN else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    (command,) = re.findall(r"HEALTHCHECK[^\[]+CMD (\[.+\])", DOCKERFILE)
    program, *arguments = json.loads(command)
    assert program == "python"
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments[-1] = arguments[-1].replace(":8000/", f":{server.server_port}/")
        ended = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        server.shutdown()
    assert (ended.returncode == 0) == (status == 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", str(DEPLOY / "Dockerfile")],
        [
            "check-jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(DEPLOY / "compose.yaml"),
        ],
    ],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command):
    # installed beside this Python, as the extra dev has them
    program = Path(sys.executable).parent / command[0]
    ended = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_unit_agrees_with_the_server():
    unit = dict(
        line.split("=", 1)
        for line in (DEPLOY / "vitseg.service").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert int(unit["TimeoutStopSec"]) >= ServeSettings().grace + 8
    assert unit["KillMode"] == "mixed"
    assert unit["DynamicUser"] == "yes"
