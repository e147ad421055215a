"""Requests that are made up from the description of the interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import require_alive
from tests.serve.fake import running

CHECKS = "not_a_server_error,unsupported_method,content_type_conformance"


@pytest.mark.slow
def test_made_up_requests_are_no_fault_of_the_server(tmp_path):
    # which are right where a made-up time is over at once, or where the models are loading
    right = "not_a_server_error.expected-statuses = ['2xx', '4xx', 503, 504]"
    (tmp_path / "schemathesis.toml").write_text(f"[checks]\n{right}\n")
    with running(timeout=60) as server:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
        command += [f"http://127.0.0.1:{server.port}/openapi.json"]
        command += ["--checks", CHECKS, "--max-examples", "40", "--seed", "1", "--no-color"]
        command += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
        command += ["--warnings", "off", "--suppress-health-check", "all"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        require_alive(server.port)
        assert server.service.admission.requests == 0
