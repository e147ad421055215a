"""What Ray is told by the environment, before it is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitseg.serve import ray_environment


@pytest.fixture
def mode(monkeypatch, tmp_path):
    """Says how Ray authenticates where the environment has these variables alone."""

    def of(**environment: str) -> str | None:
        there = {"HOME": str(tmp_path), **environment}
        monkeypatch.setattr("os.environ", there)
        ray_environment.prepare()
        return there.get("RAY_AUTH_MODE")

    return of


def test_our_own_asks_for_its_token(mode):
    assert mode() == "token"


def test_another_one_is_asked_by_the_token_that_is_at_hand(mode, tmp_path: Path):
    assert mode(RAY_ADDRESS="head:6379") is None  # it may ask for none
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert mode(RAY_ADDRESS="head:6379") == "token"


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_environment_counts(mode, name):
    assert mode(RAY_ADDRESS="head:6379", **{name: "secret"}) == "token"


def test_what_is_set_stays(mode):
    assert mode(RAY_AUTH_MODE="disabled") == "disabled"
