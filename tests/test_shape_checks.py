"""The checks of signatures under test do find what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from tests.shape_checks import check_fields, check_shapes, check_whole
from vitseg.data.hsv import rgb_to_hsv
from vitseg.layers.resize import resize_map

MAP, WIDER = torch.zeros(2, 3), torch.zeros(2, 4)


def add(x: Float[Tensor, "h w"], y: Float[Tensor, "h w"], times: int = 1) -> Float[Tensor, "h w"]:
    return (x + y[:, :1]) if times == 1 else x[:1]


def count(number: int) -> int:
    return number


def rows(x: Float[Tensor, "h w"], y: Float[Tensor, "h w"]) -> Iterator[Tensor]:
    yield from x + y[:, :1]


@pytest.mark.parametrize("check", [check_whole, check_shapes])
def test_axes_of_one_name_have_one_size_in_a_call(check):
    checked = check(add)
    assert checked(MAP, MAP).shape == (2, 3)
    assert checked(WIDER, WIDER).shape == (2, 4)
    with pytest.raises(BeartypeCallHintViolation):
        checked(MAP, WIDER)
    with pytest.raises(BeartypeCallHintViolation):
        checked(MAP, MAP, times=2)  # of what it returns
    assert checked.__wrapped__ is add


@pytest.mark.parametrize("check", [check_whole, check_shapes])
def test_generators_are_checked_when_they_are_called(check):
    assert len(list(check(rows)(MAP, MAP))) == 2
    with pytest.raises(TypeCheckError):
        check(rows)(MAP, WIDER)


def test_other_arguments_are_checked_in_some_rooms():
    with pytest.raises(BeartypeCallHintViolation):
        check_whole(count)(1.5)
    assert check_shapes(count) is count
    with pytest.raises(BeartypeCallHintViolation):
        check_whole(add)(MAP, MAP, 1.5)
    assert check_shapes(add)(MAP, MAP, 1.0).shape == (2, 3)


def test_fields_of_dataclasses_are_checked():
    @check_fields("check_shapes")
    @dataclass
    class Pair:
        x: Float[Tensor, "h w"]
        y: Float[Tensor, "h w"]

    Pair(MAP, MAP)
    with pytest.raises(BeartypeCallHintViolation):
        Pair(MAP, WIDER)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(resize_map, (torch.zeros(3), (2, 2))), (rgb_to_hsv, (np.zeros((2, 2), np.uint8),))],
)
def test_the_package_is_imported_with_checks(function, arguments):
    with pytest.raises(BeartypeCallHintViolation):
        function(*arguments)
