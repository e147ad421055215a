from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.tiny import make_export_record, make_model
from vitseg.config import apply_overrides
from vitseg.inference.config import InferenceConfig
from vitseg.runtimes.graph_model import GraphModel, OtherSizeError
from vitseg.runtimes.layout import tensors


class Session:
    """A model as a graph."""

    name = "ONNX Runtime"

    def __init__(self):
        self.model = make_model()

    def run(self, images):
        with torch.no_grad():
            return tensors(self.model(images))


def make_graph(size=None, source=Path("/srv/models/mine.onnx"), session=None):
    return GraphModel(session or Session(), make_export_record(size=size), source)


def test_what_is_proposed_for_another_size_can_be_typed_as_it_stands():
    with pytest.raises(
        OtherSizeError, match="96x64 pixels alone, but this one is run at 80x64"
    ) as error:
        make_graph((64, 96))(torch.zeros(1, 3, 64, 80))
    (proposed,) = re.findall(r"\((--set .*)\)", str(error.value))
    words = shlex.split(proposed)
    assert words[::2] == ["--set"] * 3
    protocol = InferenceConfig.model_validate(apply_overrides({}, words[1::2]))
    assert (protocol.mode, protocol.crop_size, protocol.stride) == ("slide", (64, 96), (64, 96))
