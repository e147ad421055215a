"""Publishing a model; the hub is an object that remembers what it is asked for."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors

import vitseg as package
from tests.tiny import content, photo, write_model
from vitseg.checkpoint import hub, publish
from vitseg.checkpoint.places import CONFIG, SUMS, WEIGHTS
from vitseg.checkpoint.protocols import SEGVIT


class FakeHub:
    """As much of `HfApi` as a push uses, with one repository."""

    def __init__(self):
        self.repo: str | None = None
        self.private = False
        self.files: dict[str, bytes] = {}
        self.error: Exception | None = None

    def create_repo(self, repo, private=None, exist_ok=False):
        if self.error is not None:
            raise self.error
        assert exist_ok or self.repo is None
        if self.repo is None:
            self.repo, self.private = repo, bool(private)
        return f"https://the-hub/{repo}"

    def model_info(self, repo):
        assert repo == self.repo
        return SimpleNamespace(private=self.private)

    def create_commit(self, repo, operations, commit_message):
        assert repo == self.repo
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()


@pytest.fixture
def the_hub(monkeypatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(publish, "HfApi", lambda **options: fake)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub, "offline_if_unreachable", lambda: torch.no_grad())
    return fake


def test_a_model_is_published_with_its_card(vitseg, tmp_path, the_hub):
    model = write_model(tmp_path / "model", license="apache-2.0", metrics={"miou": 0.5})
    before = content(tmp_path)
    result = vitseg("push", model, "user/streets")
    assert result.code == 0, result.err
    assert the_hub.repo == "user/streets"
    assert not the_hub.private
    assert sorted(the_hub.files) == sorted(["README.md", CONFIG, WEIGHTS, SUMS])
    assert the_hub.files[CONFIG] == (model / CONFIG).read_bytes()
    assert the_hub.files[SUMS] == (model / SUMS).read_bytes()
    assert b"license: apache-2.0\n" in the_hub.files["README.md"]
    assert "https://the-hub/user/streets" in result.out
    assert "hf://user/streets" in result.out
    assert content(tmp_path) == before


def test_what_was_published_loads(vitseg, tmp_path, the_hub, monkeypatch):
    run = tmp_path / "run"
    best = write_model(run / "best")
    write_model(run / "last", metrics={"miou": 0.1})
    assert vitseg("push", run, "user/streets", "--license", "CC0, own photos").code == 0
    home = tmp_path / "cache" / "models--user--streets"
    snapshot = home / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    for name, data in the_hub.files.items():
        (snapshot / name).write_bytes(data)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    loaded = package.load("hf://user/streets", "cpu")
    assert loaded.record.license == "CC0, own photos"
    expected = package.load(best, "cpu")(photo(50, 60)).label_map
    assert (loaded(photo(50, 60)).label_map == expected).all()
    (tmp_path / "a.png").write_bytes(b"")
    result = vitseg("predict", "hf://user/streets", tmp_path / "a.png", "--out", tmp_path / "out")
    assert "0 of 1 images" in result.out  # the model was found, the image is none


def test_a_licence_that_is_given_goes_into_the_record(vitseg, tmp_path, the_hub):
    model = write_model(tmp_path / "model")
    before = content(tmp_path)
    assert vitseg("push", model, "user/streets", "--license", "mit").code == 0
    assert json.loads(the_hub.files[CONFIG])["license"] == "mit"
    sums = the_hub.files[SUMS].decode().splitlines()
    for name in (CONFIG, WEIGHTS):
        assert f"{hashlib.sha256(the_hub.files[name]).hexdigest()}  {name}" in sums
    assert content(tmp_path) == before


def test_an_unknown_licence_is_refused(refused, tmp_path, the_hub):
    line = refused("push", write_model(tmp_path / "model"), "user/streets")
    assert "does not state the licence of its weights: pass --license" in line
    assert the_hub.repo is None


def test_a_known_licence_cannot_be_changed(vitseg, refused, tmp_path, the_hub):
    model = write_model(tmp_path / "model", license=SEGVIT.license)
    line = refused("push", model, "user/streets", "--license", "apache-2.0")
    assert "contradicts the model" in line
    assert the_hub.repo is None
    assert vitseg("push", model, "user/streets").code == 0
    assert b"Non-commercial use only" in the_hub.files["README.md"]
    assert b"license: other\n" in the_hub.files["README.md"]


def test_a_dry_run_shows_the_card_and_uploads_nothing(vitseg, tmp_path, the_hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    model = write_model(tmp_path / "model", license="mit")
    result = vitseg("push", model, "user/streets", "--dry-run")
    assert result.code == 0, result.err
    assert result.out.startswith("---\nlicense: mit\n")
    assert "not uploaded: README.md" in result.err
    assert the_hub.repo is None


@pytest.mark.parametrize("exists", [True, False])
def test_private(vitseg, refused, tmp_path, the_hub, exists):
    model = write_model(tmp_path / "model", license="mit")
    if exists:
        the_hub.repo = "user/streets"  # and everybody sees it
        line = refused("push", model, "user/streets", "--private")
        assert "exists and everybody sees it" in line
        assert the_hub.files == {}
    else:
        assert vitseg("push", model, "user/streets", "--private").code == 0
        assert the_hub.private


@pytest.mark.parametrize("repo", ["name", "user/name/file", "user name", "hf://user/name", "../x"])
def test_what_is_no_repository(refused, tmp_path, the_hub, repo):
    line = refused("push", write_model(tmp_path / "model", license="mit"), repo)
    assert line.startswith("ConfigError: ")
    assert "write user/name" in line
    assert the_hub.repo is None


def test_nobody_is_logged_in(refused, tmp_path, the_hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    line = refused("push", write_model(tmp_path / "model", license="mit"), "user/streets")
    assert "hf auth login" in line
    assert the_hub.repo is None


def failure(status: int) -> errors.HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError(f"{status} from the server", response=response)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failure(401), "the login may not write to user/streets"),
        (failure(403), "the login may not write to user/streets"),
        (failure(500), "500 from the server"),
        (errors.OfflineModeIsEnabled("off"), "the hub cannot be reached"),
        (errors.HTTPError("no route"), "no route"),
    ],
)
def test_errors_of_the_hub_are_one_line(refused, tmp_path, the_hub, error, expected):
    the_hub.error = error
    line = refused("push", write_model(tmp_path / "model", license="mit"), "user/streets")
    assert line.startswith("CheckpointError: ")
    assert expected in line


def test_a_damaged_model_is_not_published(refused, tmp_path, the_hub):
    model = write_model(tmp_path / "model", license="mit")
    (model / WEIGHTS).write_bytes(b"other")
    assert f"{WEIGHTS} changed" in refused("push", model, "user/streets")
    assert "does not exist" in refused("push", tmp_path / "none", "user/streets")
    assert the_hub.repo is None
