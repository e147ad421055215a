"""A model directory to a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi, errors

from vitseg.checkpoint.card import model_card
from vitseg.checkpoint.hub import HubAddress, explained, require_repository
from vitseg.checkpoint.model_dir import read_record, record_files
from vitseg.checkpoint.places import CONFIG, SUMS, WEIGHTS, find_model_dir, weights_hash
from vitseg.errors import CheckpointError, ConfigError, first_line

CARD = "README.md"


class Publication(NamedTuple):
    """What a repository is to hold.

    Attributes:
        repo: "user/name".
        card: Text of its model card.
        files: Content by name in the repository: bytes, or the file to upload.
    """

    repo: str
    card: str
    files: dict[str, bytes | Path]


def prepare(model: Path | str, repo: str, license_text: str | None) -> Publication:
    """What publishing a model would upload; touches neither the model nor the hub.

    Args:
        model: A model directory or a run folder.
        repo: "user/name".
        license_text: Licence of the weights, where the model does not state one; it is written into the upload.

    Raises:
        CheckpointError: No model there, or it is damaged.
        ConfigError: The repository is not written user/name, the licence is not known, or it contradicts the model's.
    """
    require_repository(repo)
    folder = find_model_dir(model)
    record = read_record(folder)
    if record.license is None and not license_text:
        raise ConfigError(
            f"{model} does not state the licence of its weights: pass --license, for example --license apache-2.0. "
            "It may not allow more than that of the pretrained weights and of the data that they were trained on."
        )
    if record.license is not None and license_text not in (None, record.license):
        raise ConfigError(
            f"--license {license_text!r} contradicts the model, whose weights are under {record.license!r}: leave "
            "--license out."
        )
    record = record.model_copy(update={"license": record.license or license_text})
    card = model_card(record, repo, record.license or "")
    config, sums = record_files(record, weights_hash(folder))
    files = {CARD: card.encode(), CONFIG: config, SUMS: sums, WEIGHTS: folder / WEIGHTS}
    return Publication(repo, card, files)


def publish(publication: Publication, private: bool) -> str:
    """Upload in one commit, to a new repository or over what an existing one holds under these names.

    Args:
        publication: What to upload.
        private: Whether only its owner may see the repository.

    Returns:
        Address of the repository's page.

    Raises:
        CheckpointError: Nobody is logged in, the login may not write there, the hub cannot be reached, or the
            repository exists and everybody sees it though `private` is asked for.
    """
    repo = publication.repo
    if huggingface_hub.get_token() is None:
        raise CheckpointError(
            "nobody is logged in to the hub: make a token with write access on its page, then: hf auth login (or set "
            "HF_TOKEN)."
        )
    api = HfApi(library_name="vitseg")
    with explained(HubAddress(repo, None, None)):
        try:
            url = api.create_repo(repo, private=private, exist_ok=True)
            if private and not api.model_info(repo).private:
                raise CheckpointError(
                    f"{repo} exists and everybody sees it: make it private on its page, or leave --private out. "
                    "Nothing was uploaded."
                )
            operations = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in publication.files.items()
            ]
            api.create_commit(repo, operations, commit_message="Upload with vitseg push")
        except errors.HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in (401, 403):
                raise
            raise CheckpointError(
                f"the login may not write to {repo}: check the name, or log in with a token that has write access: "
                f"hf auth login ({first_line(error)})"
            ) from error
    return str(url)
