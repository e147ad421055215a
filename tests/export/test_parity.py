"""The comparison of a file with its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import make_export_record, make_record
from vitseg.cli.export import tell
from vitseg.errors import VitsegError
from vitseg.export.comparison import left_out
from vitseg.export.parity import (
    Answer,
    Parity,
    Photo,
    cases,
    compare,
    compare_photos,
    require_parity,
)
from vitseg.runtimes.record import ExportRecord, Form


def answer(probs):
    return Answer(probs.argmax(1), probs)


def test_differences_are_counted_with_the_gap_of_the_models_scores():
    probs = torch.tensor([[[[0.6, 0.9]], [[0.4, 0.1]]]])  # (1, 2, 1, 2)
    others = torch.tensor([[[[0.45, 0.9]], [[0.55, 0.1]]]])
    found = compare("a", answer(probs), answer(others))
    assert (found.pixels, found.differing, found.share) == (2, 1, 0.5)
    assert found.largest_gap == pytest.approx(0.2)
    assert found.max_difference == pytest.approx(0.15)
    assert found.mean_difference == pytest.approx(0.075)
    of_labels = compare("a", answer(probs), Answer(others.argmax(1).to(torch.uint8), None))
    assert of_labels.differing == 1
    assert of_labels.max_difference is None


def test_photos_have_a_score_where_they_have_labels():
    parity = Parity("a runtime")
    labels = np.array([[0, 1], [1, -1]])
    ours, theirs = np.array([[0, 1], [1, 1]]), np.array([[0, 1], [0, 1]])
    compare_photos([Photo(ours, theirs, np.array([0.25]), labels)], 2, parity)
    assert parity.photos is not None
    assert parity.photos.share == 0.25
    assert parity.photos.largest_gap == 0.25
    assert parity.miou == 1
    assert parity.miou_found == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert not parity.is_met
    with pytest.raises(VitsegError, match=r"25\.00 % of the labels differ"):
        require_parity(parity, "this export")


def test_few_labels_of_a_thousand_may_differ():
    probs = torch.zeros(1, 2, 40, 50)
    probs[:, 0] = 0.6
    others = probs.clone()
    others[0, 1, 0, :2] = 0.7
    parity = Parity("a runtime")
    parity.sizes.append(compare("a", answer(probs), answer(others)))
    assert parity.is_met
    others[0, 1, 0, 2] = 0.7
    parity.sizes[0] = compare("a", answer(probs), answer(others))
    assert not parity.is_met


def test_a_file_of_any_size_is_compared_at_many():
    sizes = {size for size, _ in cases(None, None, (512, 512))}
    assert len(sizes) >= 6
    assert (512, 512) in sizes
    assert {batch for _, batch in cases(None, None, (512, 512))} == {1, 2, 3}
    assert set(cases((64, 64), 2, (512, 512))) == {((64, 64), 2)}


def test_labels_of_another_size_are_an_error():
    probs = torch.zeros(1, 2, 4, 5)
    with pytest.raises(VitsegError, match="of a it gives 1x4x4 labels, not 1x4x5"):
        compare("a", answer(probs), answer(probs[..., :4]))


def record(form: Form, resizes: bool = True, **protocol: object) -> ExportRecord:
    model = make_record(inference=protocol)
    return make_export_record(form, normalises=True, resizes=resizes, model=model)


WINDOWS = {"mode": "slide", "crop_size": (32, 32), "stride": (16, 16)}


@pytest.mark.parametrize("form", ["labels", "probs"])
@pytest.mark.parametrize(
    ("resizes", "protocol", "left"),
    [
        (True, {"resize": (200, 96)}, ()),
        (False, {}, ()),
        (False, {"resize": (200, 96)}, ("resize",)),
        (False, WINDOWS, ("sliding window",)),
        (True, {"resize": (200, 96), "flip": True}, ("mirrored image (flip)",)),
        (False, {"flip": True, "scales": (0.5, 1)}, ("mirrored image (flip)", "scales 0.5, 1.0")),
    ],
)
def test_what_a_file_leaves_out_is_said(capsys, form, resizes, protocol, left):
    found = record(form, resizes, **protocol)
    assert left_out(found) == left
    tell(found, Parity("a runtime"), Path("a.onnx"))
    said = " ".join("".join(capsys.readouterr()).split())
    assert ("leaves out" in said) == bool(left)
    assert all(what in said for what in left)


def test_masks_leave_nothing_out():
    assert left_out(record("masks", flip=True, scales=(0.5, 1.0))) == ()
