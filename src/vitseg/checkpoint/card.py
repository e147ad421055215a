"""The model card: what a model on the hub is, how it is run, what it scored and what it may be used for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from vitseg.backbones.licences import (
    downloaded_weights,
    is_non_commercial,
    licence_line,
    stated_licence,
)
from vitseg.checkpoint.model_dir import ModelRecord
from vitseg.images.preprocess import Preprocessing

HUB_LICENSES = (
    "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0", "openrail",
    "unlicense",
)  # fmt: skip
"""Licences that the hub knows by an identifier; any other is `other` with a name."""

PUBLISHED_DATASETS = (
    "ade20k", "camvid", "cityscapes", "coco_stuff_10k", "coco_stuff_164k", "pascal_context_59", "pascal_context_60",
    "voc2012",
)  # fmt: skip
"""Data sets that a card names; the others are the user's own, whose names are those of folder layouts."""

_CLASSES_SHOWN = 200
_SCORES = (("mIoU", "miou"), ("mean accuracy", "macc"), ("pixel accuracy", "aacc"))


def model_card(record: ModelRecord, repo: str, license_text: str) -> str:
    """The README.md of a model's repository.

    Args:
        record: The model's record.
        repo: "user/name".
        license_text: Licence of the weights: an identifier such as apache-2.0, or a sentence.
    """
    front = yaml.safe_dump(_front_matter(record, license_text), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {repo.partition('/')[2]}"]
    if is_non_commercial(license_text):
        parts.append(f"> **Non-commercial use only.** {license_text}")
    start = downloaded_weights(record.architecture.get("backbone", {}))
    if start is not None and is_non_commercial(stated_licence(start) or ""):
        parts.append(f"> **Trained from weights for non-commercial use:** {licence_line(start)}.")
    parts += [
        _what_it_is(record),
        _how_to_run(repo),
        *_sections(record),
        f"## Licence of the weights\n\n{license_text}",
    ]
    if start is not None:
        parts.append(f"They were trained from {licence_line(start)}.")
    return "\n\n".join(parts) + "\n"


def _front_matter(record: ModelRecord, license_text: str) -> dict[str, object]:
    """What the hub reads: https://huggingface.co/docs/hub/model-cards."""
    known = {_slug(identifier): identifier for identifier in HUB_LICENSES}
    name = _slug(license_text.partition("(")[0])
    licence = (
        {"license": known[name]} if name in known else {"license": "other", "license_name": name}
    )
    front: dict[str, object] = {
        **licence,
        "library_name": "vitseg",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", record.method],
    }
    dataset = record.metrics.get("trained_on") or record.metrics.get("dataset")
    if dataset in PUBLISHED_DATASETS:
        front["datasets"] = [dataset]
    if record.metrics.get("miou") is not None:
        front["metrics"] = ["mean_iou"]
    return front


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['’]s\b", "", text.lower())).strip("-") or "other"


def _what_it_is(record: ModelRecord) -> str:
    backbone = record.architecture.get("backbone", {}).get("name", "a backbone of its own")
    height, width = record.image_size
    origin = record.metrics.get("converted_from")
    converted = f" Converted from `{origin}`." if origin else ""
    return (
        f"Semantic segmentation with {record.method} on `{backbone}`: {record.classes.num_classes} classes, trained on "
        f"images of {height} x {width} pixels.{converted}"
    )


def _how_to_run(repo: str) -> str:
    return (
        "## Use\n\n"
        f"```bash\npip install vitseg\nvitseg predict hf://{repo} photo.jpg --out predictions\n```\n\n"
        f'```python\nimport vitseg\n\nsegmentation = vitseg.load("hf://{repo}")("photo.jpg")\n'
        'segmentation.save("mask.png")\n```'
    )


def _sections(record: ModelRecord) -> Iterator[str]:
    scores = [
        f"| {name} | {100 * record.metrics[key]:.2f} |"
        for name, key in _SCORES
        if isinstance(record.metrics.get(key), int | float)
    ]
    if scores:
        measured = " ".join(
            str(record.metrics[key]) for key in ("dataset", "split") if key in record.metrics
        )
        on = f" on {measured}" if measured else ""
        yield "\n".join(
            [f"## Scores{on} (percent)", "", "| measure | value |", "|---|---:|", *scores]
        )
    yield "\n".join(
        [
            "## How images are run",
            "",
            *_items({**_reading(record.preprocessing), **record.inference}),
        ]
    )
    if record.recipe:
        recipe = yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True)
        yield f"## Training\n\nThe recipe:\n\n```yaml\n{recipe}```"
    names = record.classes.names
    more = f", and {len(names) - _CLASSES_SHOWN} more" if len(names) > _CLASSES_SHOWN else ""
    yield f"## Classes\n\n{', '.join(names[:_CLASSES_SHOWN])}{more}."
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield f"Saved with {versions}."


def _reading(preprocessing: Preprocessing) -> dict[str, object]:
    """How pixels are read; bands with their ranges in words."""
    values: dict[str, object] = preprocessing.model_dump()
    bands = preprocessing.bands
    if bands is None:
        return values
    ranges = [f"{band.words}: {limits.words()}" for band in bands.chosen if (limits := band.limits)]
    values["bands"] = bands.words
    values["band_ranges"] = "; ".join(ranges) or None
    values["extra_images"] = ", ".join(bands.extra_images) or None
    return values


def _items(values: dict[str, object]) -> list[str]:
    return [f"- `{name}`: {value}" for name, value in values.items() if value is not None]
