"""Where a model directory is, and whether it is whole.

Nothing here imports torch, so that a mistyped path is refused at once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from vitseg.checkpoint.hub import fetch_folder, hub_address
from vitseg.errors import CheckpointError
from vitseg.runs import BEST, LAST

CONFIG, WEIGHTS, SUMS = "config.json", "model.safetensors", "SHA256SUMS"


def find_model_dir(path: Path | str) -> Path:
    """The model directory meant by a path: itself, or the best (else the last) model of a run folder.

    An address on the hub (`hf://user/name`, `hf://user/name@revision`) is downloaded, or taken from the hub's cache.

    Raises:
        CheckpointError: There is none.
    """
    address = hub_address(path)
    if address is not None:
        return fetch_folder(address, (CONFIG, WEIGHTS, SUMS))
    path = Path(path)
    if not os.path.exists(path):  # Path.exists fails for a path that is too long
        raise CheckpointError(
            f"{path} does not exist: give a model directory, the --out of a training, or hf://user/name."
        )
    for candidate in (path, path / BEST, path / LAST):
        if (candidate / CONFIG).exists() or (candidate / WEIGHTS).exists():
            return candidate
    raise CheckpointError(
        f"{path} holds no model: a model directory has {CONFIG}, {WEIGHTS} and {SUMS}, a training's --out folder "
        f"has {BEST}/ or {LAST}/."
    )


def weights_hash(path: Path | str) -> str:
    """SHA-256 of the weights of a model directory, as its list states it."""
    return listed_sums(find_model_dir(path))[WEIGHTS]


def listed_sums(path: Path) -> dict[str, str]:
    """SHA-256 of the files of a model directory, as its list states them."""
    lines = (path / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def verify(path: Path) -> None:
    """Raise CheckpointError where a file of a model directory is missing or has changed since it was saved."""
    require_complete(path)
    sums = listed_sums(path)
    changed = [name for name in (CONFIG, WEIGHTS) if sums.get(name) != sha256_of(path / name)]
    if not changed:
        return
    kind = None
    if WEIGHTS in changed:
        from vitseg.backbones.file_kinds import file_kind  # its package brings torch

        kind = file_kind(path / WEIGHTS)
    cure = (
        f"{WEIGHTS} {kind}"
        if kind
        else "Restore the directory; if the change is yours, renew the list there with: "
        f"sha256sum {CONFIG} {WEIGHTS} > {SUMS}"
    )
    raise CheckpointError(
        f"{path}: {', '.join(changed)} changed since the model was saved ({SUMS} says so). {cure}"
    )


def require_complete(path: Path) -> None:
    """Raise CheckpointError where a model directory lacks a file."""
    missing = [name for name in (CONFIG, WEIGHTS, SUMS) if not (path / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}: a model directory has {CONFIG}, {WEIGHTS} and {SUMS}. "
            "Copy the whole directory again."
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
