"""Addresses on the hub, models and files behind them, and what can go wrong; the hub is a folder, without a network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors

import vitseg
from tests.tiny import photo, write_model
from vitseg.checkpoint import hub
from vitseg.checkpoint.hub import HubAddress, fetch_file, fetch_folder, hub_address
from vitseg.checkpoint.places import CONFIG, SUMS, WEIGHTS, find_model_dir, weights_hash
from vitseg.errors import CheckpointError

REVISION = "a" * 40


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("hf://user/name", HubAddress("user/name", None, None)),
        ("hf://user/name/", HubAddress("user/name", None, None)),
        ("hf://user/na.me-1_x@v1.0", HubAddress("user/na.me-1_x", "v1.0", None)),
        ("hf://user/name/a/b.pth", HubAddress("user/name", None, "a/b.pth")),
        ("hf://user/name@v1/b.pth", HubAddress("user/name", "v1", "b.pth")),
        (Path("hf://user/name@v1"), HubAddress("user/name", "v1", None)),
        ("hf:/user/name", HubAddress("user/name", None, None)),
        ("user/name", None),
        ("models/hf", None),
        (Path("/models/hf:/x"), None),
    ],
)
def test_addresses(place, expected):
    assert hub_address(place) == expected


@pytest.mark.parametrize("text", ["hf://", "hf://name", "hf:///", "hf://a b/c", "hf://user/name@"])
def test_what_is_no_address_says_how_one_is_written(text):
    with pytest.raises(CheckpointError, match="no address on the hub: write hf://user/name"):
        hub_address(text)


def test_an_address_is_written_as_it_is_read():
    for text in ("hf://user/name", "hf://user/name@v1", "hf://user/name@v1/a/b.pth"):
        assert str(hub_address(text)) == text


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """A model in the hub client's cache, and no network."""
    home = tmp_path / "hub" / "models--user--streets"
    write_model(home / "snapshots" / REVISION, license="apache-2.0")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(REVISION)
    (home / "snapshots" / REVISION / "segvit.pth").write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return home / "snapshots" / REVISION


def test_a_model_comes_from_the_cache_where_there_is_no_network(cached):
    for place in ("hf://user/streets", Path("hf://user/streets"), f"hf://user/streets@{REVISION}"):
        assert find_model_dir(place).samefile(cached)
        assert weights_hash(place) == weights_hash(cached)
    predictor = vitseg.load("hf://user/streets", "cpu")
    expected = vitseg.load(cached, "cpu")(photo(40, 50))
    assert (predictor(photo(40, 50)).label_map == expected.label_map).all()
    assert predictor.record.license == "apache-2.0"


def test_a_file_comes_from_the_cache(cached):
    path = fetch_file(HubAddress("user/streets", None, "segvit.pth"))
    assert path.read_bytes() == b"weights"


def test_what_is_not_in_the_cache_is_not_there_without_a_network(cached):
    for address in (HubAddress("user/other", None, None), HubAddress("user/streets", "v2", None)):
        with pytest.raises(CheckpointError, match="the hub cannot be reached, and it is not in"):
            fetch_folder(address, (CONFIG,))
    with pytest.raises(CheckpointError, match="the hub cannot be reached, and it is not in"):
        fetch_file(HubAddress("user/streets", None, "other.pth"))


def test_a_damaged_download_is_noticed(cached):
    (cached / WEIGHTS).write_bytes(b"other")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} changed"):
        vitseg.load("hf://user/streets", "cpu")
    (cached / SUMS).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {SUMS}"):
        vitseg.load("hf://user/streets", "cpu")


def test_a_repository_and_a_file_are_not_mixed_up():
    with pytest.raises(CheckpointError, match="names no file: write hf://user/name/FILE"):
        fetch_file(HubAddress("user/name", None, None))
    with pytest.raises(CheckpointError, match="names a file: a model is hf://user/name"):
        vitseg.load("hf://user/name/model.safetensors", "cpu")


def response(status: int) -> Any:
    """As much of an HTTP response as the errors look at."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


# The name since huggingface-hub 1.0.
_NoSuchFile = getattr(errors, "RemoteEntryNotFoundError", errors.EntryNotFoundError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.RepositoryNotFoundError("404", response=response(404)), "no repository user/name"),
        (errors.GatedRepoError("403", response=response(403)), "is gated: accept its terms"),
        (errors.RevisionNotFoundError("404", response=response(404)), "has no revision 'v1'"),
        (_NoSuchFile("404", response=response(404)), "has no file a.pth"),
        (errors.HfHubHTTPError("500 server", response=response(500)), "cannot be had: 500 server"),
        (errors.LocalEntryNotFoundError("gone"), "cannot be reached, and it is not in the cache"),
        (errors.HFValidationError("bad"), "is no address on the hub: bad"),
        (errors.HTTPError("no route\nmore"), "cannot be had: no route"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_errors_of_the_hub_are_one_line(monkeypatch, error, expected):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(hub, "offline_if_unreachable", lambda: torch.no_grad())
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(CheckpointError) as caught:
        fetch_file(HubAddress("user/name", "v1", "a.pth"))
    assert str(caught.value).startswith("hf://user/name@v1/a.pth")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_files_of_a_model_are_downloaded(monkeypatch, tmp_path):
    asked = []

    def download(repo, **options):
        asked.append((repo, options))
        return str(tmp_path)

    monkeypatch.setattr(hub, "offline_if_unreachable", lambda: torch.no_grad())
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model_dir("hf://user/name@v1") == tmp_path
    ((repo, options),) = asked
    assert (repo, options["revision"]) == ("user/name", "v1")
    assert sorted(options["allow_patterns"]) == sorted([CONFIG, WEIGHTS, SUMS])
