"""An evaluation as the content of its report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vitseg.evaluation.evaluate import Evaluation
from vitseg.evaluation.worst_samples import WorstSamples
from vitseg.metrics.size import AREA_LIMITS
from vitseg.render.report_data import ClassScore, ReliabilityBin, ReportData, SizeScore


def report_data(
    evaluation: Evaluation,
    samples: WorstSamples,
    title: str,
    facts: Mapping[str, str] | None = None,
) -> ReportData:
    """What the page shows.

    Args:
        evaluation: Scores and protocol.
        samples: Fed with every image of this evaluation.
        title: Heading of the page.
        facts: More of the protocol, shown first: what the evaluation does not know, such as the model's name and the
            hash of its weights.
    """
    scores, measures = evaluation.scores, evaluation.measures
    headline = {
        "mIoU": scores.mean_iou,
        "mAcc": scores.mean_accuracy,
        "aAcc": scores.pixel_accuracy,
        "Weighted IoU": scores.frequency_weighted_iou,
        "Dice": scores.mean_dice,
    }
    if measures.boundary is not None:
        headline["Boundary IoU"] = measures.boundary.mean_iou
    if measures.calibration is not None:
        headline["ECE"] = measures.calibration.ece
    views = {
        view.id: view for view in (*samples.confusion_views, *samples.worst)
    }  # the gallery's are larger
    return ReportData(
        title=title,
        protocol={**(facts or {}), **_protocol(evaluation)},
        headline=headline,
        classes=_class_scores(evaluation),
        confusion=evaluation.counts,
        cell_images=samples.cell_images(),
        samples=views,
        worst=tuple(view.id for view in samples.worst),
        trimap=tuple((point.width, point.scores.mean_iou) for point in measures.trimap or ()),
        miou=scores.mean_iou,
        sizes=_size_scores(evaluation),
        reliability=_reliability(evaluation),
        ece=float("nan") if measures.calibration is None else measures.calibration.ece,
    )


def _class_scores(evaluation: Evaluation) -> tuple[ClassScore, ...]:
    scores, boundary = evaluation.scores, evaluation.measures.boundary
    return tuple(
        ClassScore(
            name=name,
            color=color,
            pixels=int(scores.pixels[index]),
            iou=float(scores.iou[index]),
            accuracy=float(scores.accuracy[index]),
            dice=float(scores.dice[index]),
            boundary_iou=None if boundary is None else float(boundary.iou[index]),
        )
        for index, (name, color) in enumerate(
            zip(evaluation.classes.names, evaluation.classes.palette, strict=True)
        )
    )


def _size_scores(evaluation: Evaluation) -> tuple[SizeScore, ...]:
    first, second = (f"{limit:,}" for limit in AREA_LIMITS)
    areas = (f"below {first} px", f"{first} to {second} px", f"from {second} px")
    return tuple(
        SizeScore(name, area, size.mean_iou, int(size.objects.sum()))
        for (name, size), area in zip((evaluation.measures.size or {}).items(), areas, strict=False)
    )


def _reliability(evaluation: Evaluation) -> tuple[ReliabilityBin, ...]:
    found = evaluation.measures.calibration
    if found is None:
        return ()
    total = max(1, int(found.pixels.sum()))
    return tuple(
        ReliabilityBin(
            low=float(found.edges[index]),
            high=float(found.edges[index + 1]),
            confidence=float(found.confidence[index]),
            accuracy=float(found.accuracy[index]),
            share=int(pixels) / total,
        )
        for index, pixels in enumerate(found.pixels)
    )


def _protocol(evaluation: Evaluation) -> dict[str, str]:
    """The protocol in words, the date of today with it."""
    known = evaluation.protocol
    versions = known["versions"]
    facts = {
        "Data set": known["dataset"],
        "Split": known["split"],
        "Images": f"{known['images']:,}",
        "Data hash": known["content_hash"],
        **_inference_facts(known["inference"]),
        "Left out": ", ".join(known["without_classes"]),
        "Device": known["device"],
        "vitseg": f"{versions['vitseg']}{_in_brackets(known['commit'])}",
        "Packages": ", ".join(
            f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions
        ),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return {name: value for name, value in facts.items() if value}


_MODES = {"whole": "whole image", "slide": "sliding window"}


def _inference_facts(inference: Mapping[str, Any]) -> dict[str, str]:
    """How images were run through the model; sizes as in the configuration, (height, width) or (long, short)."""
    resize, window = inference["resize"], inference["crop_size"]
    facts = {
        "Mode": _MODES.get(inference["mode"], str(inference["mode"])),
        "Resize": f"long side {resize[0]}, short side {resize[1]}" if resize else "none",
        "Least short side": str(inference.get("min_short") or ""),
        "Scales": ", ".join(f"{scale:g}" for scale in inference["scales"]),
        "Flip": "yes" if inference["flip"] else "no",
    }
    if window:
        facts["Crop"] = _size(window)
        facts["Stride"] = _size(inference["stride"])
    return facts


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} × {size[1]} px" + ("" if size[0] == size[1] else " (height × width)")


def _in_brackets(text: str | None) -> str:
    return f" ({text})" if text else ""
