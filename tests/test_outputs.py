"""Outputs read themselves: scores against hand numbers, some classes, some rows, one image."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitseg.outputs import (
    CellPresence,
    ClassLogits,
    Joined,
    MixedMasks,
    PresenceMasks,
    QueryMasks,
    SegOutput,
)

BATCH, CLASSES = 2, 4
SIZES = (13, 22), (16, 24)  # of the images, and of what the masks cover
CLOSE = {"atol": 1e-6, "rtol": 1e-5}


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output_of(kind: type[SegOutput], seed: int = 0, **fields) -> SegOutput:
    """A random output, with a stage and an extra."""
    num_queries = 6 if kind is MixedMasks else CLASSES
    masks = random(seed, BATCH, num_queries, 4, 6)
    if issubclass(kind, QueryMasks):
        num_logits = CLASSES + 1 if kind is MixedMasks else 2
        fields["class_logits"] = random(seed + 1, BATCH, num_queries, num_logits)
    return kind(masks, *SIZES, **fields)


def with_all(kind: type[SegOutput]) -> SegOutput:
    stages = tuple(output_of(kind, 10 * n, name=str(n)) for n in (1, 2))
    return output_of(kind, stages=stages, extras={"edges": output_of(ClassLogits, 50)})


def joined() -> Joined:
    kinds = (MixedMasks, PresenceMasks, ClassLogits)
    return Joined.of([with_all(kind) for kind in kinds])


ALONE = [MixedMasks, PresenceMasks, CellPresence, ClassLogits]


@pytest.fixture(params=[*ALONE, Joined], ids=lambda kind: kind.__name__)
def output(request) -> SegOutput:
    return joined() if request.param is Joined else with_all(request.param)


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("classes", [[0, 2], [3], [0, 1, 2, 3]])
def test_the_kept_classes_keep_their_scores(kind, classes):
    output = with_all(kind)
    kept = output.select(classes)
    assert type(kept) is kind
    assert kept.num_classes == len(classes)
    torch.testing.assert_close(kept.scores(), output.scores()[:, classes], **CLOSE)
    assert [stage.name for stage in kept.stages] == ["1", "2"]
    for ours, stage in zip(kept.stages, output.stages, strict=True):
        torch.testing.assert_close(ours.scores(), stage.scores()[:, classes], **CLOSE)


@pytest.mark.parametrize("classes", [[1, 3], [5, 9, 11], [0], [4, 5, 6, 7], list(range(12))])
def test_the_kept_classes_of_joined_outputs_keep_their_scores(classes):
    output = joined()
    kept = output.select(classes)
    assert isinstance(kept, Joined)
    assert kept.num_classes == len(classes)
    torch.testing.assert_close(kept.scores(), output.scores()[:, classes], **CLOSE)
    kinds = [type(output.parts[part]) for part in sorted({index // CLASSES for index in classes})]
    assert [type(part) for part in kept.parts] == kinds  # a part without classes is gone
    assert torch.equal(kept.mask_logits, torch.cat([part.mask_logits for part in kept.parts], 1))


def test_classes_out_of_order_are_no_selection(output):
    for classes in ([2, 0], [1, 1]):
        with pytest.raises(AssertionError):
            output.select(classes)


def test_joined_scores_are_those_of_the_parts():
    output = joined()
    assert output.num_classes == 3 * CLASSES
    expected = torch.cat([part.scores() for part in output.parts], dim=1)
    assert torch.equal(output.scores(), expected)


def test_some_rows_are_rows_of_all(output):
    scores = output.scores()
    assert scores.shape == (BATCH, output.num_classes, *SIZES[0])
    assert scores.dtype == torch.float32
    for first, last in ((0, 13), (0, 1), (5, 9), (12, 13)):
        torch.testing.assert_close(output.scores((first, last)), scores[:, :, first:last], **CLOSE)


@pytest.mark.parametrize("index", [0, 1])
def test_one_image_of_a_batch(output, index):
    scores = output.scores()
    alone = output.of_image(index)
    assert type(alone) is type(output)
    assert (alone.stages, alone.extras) == ((), {})
    assert alone.mask_logits.shape[0] == 1
    torch.testing.assert_close(alone.scores(), scores[index : index + 1], **CLOSE)
    torch.testing.assert_close(alone.scores((3, 7)), scores[index : index + 1, :, 3:7], **CLOSE)
    if isinstance(alone, Joined):
        assert all((part.stages, part.extras) == ((), {}) for part in alone.parts)


@pytest.mark.parametrize("kind", ALONE)
def test_one_image_of_a_half_precision_batch_is_float32(kind):
    output = with_all(kind)
    half = replace(output, mask_logits=output.mask_logits.bfloat16())
    assert half.of_image(0).mask_logits.dtype == torch.float32
    assert half.scores().dtype == torch.float32


def test_what_is_supervised_has_names():
    names = [name for name, _ in with_all(MixedMasks).supervised()]
    assert names == ["", "_1", "_2"]


def test_how_scores_become_probabilities():
    shares = [MixedMasks, PresenceMasks, CellPresence, Joined]
    assert {kind.distribution for kind in shares} == {"share"}
    assert ClassLogits.distribution == "softmax"


LN3 = math.log(3)  # its sigmoid is 3/4, as is the first share of the softmax of (ln 3, 0)


def flat(*logits: float) -> Tensor:
    """Masks of two cells, of which the second has the opposite logits."""
    first = torch.tensor(logits)
    return torch.stack([first, -first], -1)[None, :, None, :]  # (1, q, 1, 2)


TWO_CELLS = (1, 2), (1, 2)


def test_class_logits_by_hand():
    output = ClassLogits(flat(5.0, -1.0), *TWO_CELLS)
    assert output.scores().tolist() == [[[[5.0, -5.0]], [[-1.0, 1.0]]]]


def test_mixed_masks_by_hand():
    """Probabilities (1/4, 1/2 | no object 1/4) and (3/5, 1/5 | 1/5); masks 3/4 and 1/2 in the first cell."""
    logits = torch.tensor([[[0.0, math.log(2), 0.0], [LN3, 0.0, 0.0]]])
    output = MixedMasks(flat(LN3, 0.0), *TWO_CELLS, class_logits=logits)
    sky = [0.25 * 0.75 + 0.6 * 0.5, 0.25 * 0.25 + 0.6 * 0.5]
    road = [0.5 * 0.75 + 0.2 * 0.5, 0.5 * 0.25 + 0.2 * 0.5]
    torch.testing.assert_close(output.scores(), torch.tensor([[[sky], [road]]]))
    torch.testing.assert_close(output.presence(), torch.tensor([[0.25, 0.2]]))


@pytest.mark.parametrize("kind", [PresenceMasks, CellPresence])
def test_presence_by_hand(kind):
    """Presences 3/4 and 1/4; masks 3/4 and 1/2 in the first cell."""
    logits = torch.tensor([[[LN3, 0.0], [0.0, LN3]]])
    output = kind(flat(LN3, 0.0), *TWO_CELLS, class_logits=logits)
    torch.testing.assert_close(output.presence(), torch.tensor([[0.75, 0.25]]))
    expected = torch.tensor([[[[9 / 16, 3 / 16]], [[1 / 8, 1 / 8]]]])
    torch.testing.assert_close(output.scores(), expected)


def test_masks_are_resized_before_the_sigmoid_and_cells_after_it():
    """In the middle of logits ln 3 and -ln 3 is 0, in the middle of 3/4 and of 1/4 is 1/2; at 1/4 of the way not."""
    logits = torch.tensor([[[50.0, 0.0]]])  # present for sure
    sizes = (1, 4), (1, 4)
    masks = PresenceMasks(flat(LN3), *sizes, class_logits=logits).scores()[0, 0, 0]
    cells = CellPresence(flat(LN3), *sizes, class_logits=logits).scores()[0, 0, 0]
    share = 1 / (1 + 3**-0.5)  # sigmoid of half of ln 3
    torch.testing.assert_close(masks, torch.tensor([0.75, share, 1 - share, 0.25]))
    torch.testing.assert_close(cells, torch.tensor([0.75, 0.625, 0.375, 0.25]))


def test_targets_of_the_class_logits():
    present = torch.tensor([[True, False, True], [False, False, False]])
    mixed = MixedMasks(random(0, 2, 3, 2, 2), (4, 4), (4, 4), class_logits=random(1, 2, 3, 4))
    assert mixed.class_targets(present).tolist() == [[0, 3, 2], [3, 3, 3]]  # 3: no object
    for kind in (PresenceMasks, CellPresence):
        output = kind(random(0, 2, 3, 2, 2), (4, 4), (4, 4), class_logits=random(1, 2, 3, 2))
        assert output.class_targets(present).tolist() == [[0, 1, 0], [1, 1, 1]]  # 1: absent
