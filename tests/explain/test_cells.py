"""What NRD's cells read, as numbers and as pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import CROP, make_predictor, make_record, photo
from vitseg.errors import ConfigError
from vitseg.explain.cells import main_directions, read_cells
from vitseg.inference.predictor import Predictor
from vitseg.methods.nrd import NrdConfig
from vitseg.render.cells import CellPicture, cells_sheet
from vitseg.render.explain import GAP, LARGEST_CELL


def predictor_of(**decoder) -> Predictor:
    backbone = {"name": "resnet18c", "pretrained": False, "levels": [0, 1]}
    fields = {"embed_dim": 8, "auxiliary_dim": 8, "dilations": None, **decoder}
    config = NrdConfig.model_validate({"backbone": backbone, "decoder": fields})
    torch.manual_seed(0)
    record = make_record(method="nrd", architecture=config.model_dump(mode="json"))
    return Predictor(config.build(3, CROP), record, "cpu")


def test_labels_are_those_of_a_prediction_and_inputs_cover_the_padded_image():
    predictor = predictor_of()
    image = photo(50, 71)
    found = read_cells(predictor, image)
    assert (found.segmentation.label_map == predictor(image).label_map).all()
    assert found.cell == 8
    assert found.input_size == (50, 71)
    assert found.padded_size == (56, 72)
    assert found.guidance is not None
    assert found.coordinates is not None
    assert found.guidance.shape == found.coordinates.shape == (14, 18, 3)
    assert found.guidance.min() == 0
    assert found.guidance.max() == 1
    x, y = found.coordinates[..., 0], found.coordinates[..., 1]
    assert (x[0] == [0, 0.5] * 9).all()
    assert (y[:, 0] == [0, 0.5] * 7).all()
    assert (found.coordinates[..., 2] == 0).all()


@pytest.mark.parametrize(
    ("decoder", "missing"),
    [({"use_coordinates": False}, "coordinates"), ({"guidance_dim": None}, "guidance")],
)
def test_what_a_model_does_not_read_is_not_shown(decoder, missing):
    found = read_cells(predictor_of(**decoder), photo(32, 32))
    other = "guidance" if missing == "coordinates" else "coordinates"
    assert getattr(found, missing) is None
    assert getattr(found, other) is not None


def test_another_model_has_no_cells():
    with pytest.raises(ConfigError, match="a model of method segvit has no cells"):
        read_cells(make_predictor(), photo(32, 32))


def test_the_first_direction_is_the_one_of_most_difference():
    steps = torch.linspace(-1, 1, 12).view(3, 4)
    x = torch.stack([0.1 * steps.flip(0), 5 * steps, torch.zeros(3, 4)])
    first = main_directions(x)[..., 0]
    rising = first if first[0, 0] < first[-1, -1] else 1 - first
    assert torch.allclose(rising, (steps + 1) / 2, atol=0.05)
    assert main_directions(x[:1]).shape == (3, 4, 3)
    assert (main_directions(torch.ones(5, 2, 2)) == 0).all()


def test_borders_lie_between_the_cells():
    size = height, width = LARGEST_CELL  # neither enlarged nor reduced
    picture = np.full((height, width, 3), 30, dtype=np.uint8)
    sheet = np.asarray(cells_sheet([CellPicture("image", picture)], size, 80))
    drawn = sheet[-(GAP + height) : -GAP, GAP : GAP + width]
    is_white = (drawn == 255).all(-1)
    assert np.flatnonzero(is_white.all(0)).tolist() == [80, 160, 240]
    assert np.flatnonzero(is_white.all(1)).tolist() == [80, 160]
    assert is_white.sum() == 3 * height + 2 * width - 6
