"""Memory of one window of a model that runs elsewhere than in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import make_export_record, make_model, make_record
from vitseg.inference.predictor import Predictor
from vitseg.inference.tile_bands import window_bytes
from vitseg.own_memory import CLEAR
from vitseg.runtimes.graph_model import GraphModel
from vitseg.runtimes.layout import tensors

TAKEN = 100_000_000


class Greedy:
    """A runtime that takes memory of its own, and keeps it for its next run, as ONNX Runtime does."""

    name = "greedy"

    def __init__(self):
        self.model = make_model()
        self.arena: np.ndarray | None = None

    def run(self, images):
        if self.arena is None:
            self.arena = np.ones(TAKEN, np.uint8)
        return tensors(self.model(images))


@pytest.mark.skipif(not CLEAR.exists(), reason="the system does not tell")
def test_what_a_runtime_takes_is_counted_for_its_first_window_and_all_others():
    record = make_export_record()
    graph = GraphModel(Greedy(), record, Path("a.onnx"))
    predictor = Predictor(graph, record.predicting, "cpu")
    first = window_bytes(predictor, (64, 64), (500, 500))
    assert first >= TAKEN
    assert window_bytes(predictor, (64, 64), (500, 500)) == first
    own = window_bytes(Predictor(make_model(), make_record(), "cpu"), (64, 64), (500, 500))
    assert own < TAKEN / 10
