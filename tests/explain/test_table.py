"""Which file explains which method."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.tiny import make_model, make_record, photo
from vitseg.explain.sheet import Sheet
from vitseg.explain.table import KINDS, kind_of
from vitseg.inference.predictor import Predictor
from vitseg.methods import METHODS
from vitseg.methods.method import Explainer


def test_every_word_of_a_method_has_a_file():
    words = {METHODS[name].explainer for name in METHODS} - {None}
    assert words == set(KINDS) == set(get_args(Explainer))


@pytest.mark.parametrize("word", KINDS)
def test_every_file_has_the_call_and_says_how_to_read_its_sheets(word):
    assert KINDS[word].explain.__module__ == KINDS[word].module


def test_the_method_chooses_and_a_sheet_says_how_it_is_read():
    predictor = Predictor(make_model(), make_record(), "cpu")
    sheet = kind_of(predictor).explain(predictor, photo(64, 96), classes=[0])
    assert isinstance(sheet, Sheet)
    assert sheet.how_to_read.startswith("Every class has a query.")
    assert (
        sheet.picture.height < kind_of(predictor).explain(predictor, photo(64, 96)).picture.height
    )
