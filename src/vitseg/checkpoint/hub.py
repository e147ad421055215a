"""Files and model directories on the Hugging Face hub, named by addresses such as `hf://user/name`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import validate_repo_id

from vitseg.errors import CheckpointError, ConfigError, first_line
from vitseg.hub import offline_if_unreachable

_SCHEME = re.compile(r"^hf:/+")
_PARTS = re.compile(r"^([\w.-]+/[\w.-]+)(?:@([^/@]+))?(?:/(.+))?$")


class HubAddress(NamedTuple):
    """A place on the hub.

    Attributes:
        repo: "user/name".
        revision: Branch, tag or commit; None for the newest.
        file: Path of a file in the repository; None for the whole.
    """

    repo: str
    revision: str | None
    file: str | None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repo}{revision}" + (f"/{self.file}" if self.file else "")


def hub_address(place: Path | str) -> HubAddress | None:
    """The address that a place is, or None for a place on this computer.

    Args:
        place: `hf://user/name`, with `@revision` and `/file` behind it if wanted. One slash will do: a `Path` keeps no
            two.

    Raises:
        CheckpointError: It starts as an address, but is none.
    """
    text = Path(place).as_posix() if isinstance(place, Path) else place
    if not _SCHEME.match(text):
        return None
    match = _PARTS.match(_SCHEME.sub("", text).rstrip("/"))
    if not match:
        raise CheckpointError(
            f"{text} is no address on the hub: write hf://user/name, with @revision or /file behind it if wanted."
        )
    return HubAddress(*match.groups())


def require_repository(repo: str) -> None:
    """Raise ConfigError unless a name is that of a repository on the hub, user/name."""
    try:
        validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise ConfigError(
            f"{repo!r} is no repository of the hub: write user/name. ({first_line(error)})"
        ) from error
    if "/" not in repo:
        raise ConfigError(f"{repo!r} names no user or organisation: write user/name.")


def fetch_file(address: HubAddress) -> Path:
    """The file of an address, from the hub or its cache.

    Raises:
        CheckpointError: It cannot be had, or the address names no file.
    """
    if address.file is None:
        raise CheckpointError(f"{address} names no file: write hf://{address.repo}/FILE.")
    with explained(address):
        return Path(
            huggingface_hub.hf_hub_download(
                address.repo, address.file, revision=address.revision, library_name="vitseg"
            )
        )


def fetch_folder(address: HubAddress, files: Sequence[str]) -> Path:
    """A folder with these files of a repository, from the hub or its cache; one that is not there is left out.

    Raises:
        CheckpointError: The repository cannot be had, or the address names a file.
    """
    if address.file is not None:
        raise CheckpointError(f"{address} names a file: a model is hf://{address.repo}.")
    with explained(address):
        return Path(
            huggingface_hub.snapshot_download(
                address.repo,
                revision=address.revision,
                allow_patterns=list(files),
                library_name="vitseg",
            )
        )


@contextmanager
def explained(address: HubAddress) -> Iterator[None]:
    """Within the block errors of the hub client become one line each; off line its cache is used."""
    try:
        with offline_if_unreachable():
            yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{address} is gated: accept its terms on its page on the hub, and log in with: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{address}: {address.repo} has no revision {address.revision!r}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{address}: the hub has no repository {address.repo}, or it is private: check the name, or log in with: "
            "hf auth login"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise CheckpointError(f"{address}: the hub cannot be reached.") from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{address} cannot be had: the hub cannot be reached, and it is not in the cache. Go on line once, or give "
            "a path on this computer."
        ) from error
    except errors.EntryNotFoundError as error:
        raise CheckpointError(f"{address}: {address.repo} has no file {address.file}.") from error
    except errors.HFValidationError as error:
        raise CheckpointError(f"{address} is no address on the hub: {first_line(error)}") from error
    except (OSError, errors.HTTPError) as error:  # what else its HTTP client meets
        raise CheckpointError(f"{address} cannot be had: {first_line(error)}") from error
