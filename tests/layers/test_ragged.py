"""Packed attention and drop path against the images one by one."""

from __future__ import annotations

import pytest
import torch

from vitseg.layers.attention import attend
from vitseg.layers.drop_path import DropPath
from vitseg.layers.ragged import _nested_attention, images_of, ragged_attention

HEADS, DIM = 2, 4


def packed(*lengths: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(lengths))
    return torch.randn(1, HEADS, sum(lengths), DIM, generator=generator)


def one_by_one(q, k, v, query_lengths, key_lengths, biases=None):
    images = zip(
        q.split(query_lengths, 2), k.split(key_lengths, 2), v.split(key_lengths, 2), strict=True
    )
    outputs = []
    for index, (qi, ki, vi) in enumerate(images):
        scores = qi @ ki.transpose(-1, -2) / DIM**0.5
        if biases is not None:
            scores = scores + biases[index]
        outputs.append(scores.softmax(-1) @ vi)
    return torch.cat(outputs, 2)


@pytest.mark.parametrize(
    ("query_lengths", "key_lengths"),
    [((3, 5, 2), (4, 1, 6)), ((3, 3), (5, 5)), ((4, 4), (2, 7)), ((5,), (3,))],
)
def test_no_query_sees_another_image(query_lengths, key_lengths):
    q, k, v = packed(*query_lengths), packed(*key_lengths), packed(*key_lengths).flip(-1)
    found = ragged_attention(q, k, v, query_lengths, key_lengths)
    torch.testing.assert_close(found, one_by_one(q, k, v, query_lengths, key_lengths))


def test_every_image_has_a_bias_of_its_own():
    lengths = (3, 2)
    q, k, v = packed(*lengths), packed(*lengths), packed(*lengths)
    biases = [torch.randn(HEADS, n, n) for n in lengths]
    found = ragged_attention(q, k, v, lengths, lengths, biases)
    torch.testing.assert_close(found, one_by_one(q, k, v, lengths, lengths, biases))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_variable_length_kernel_computes_the_same():
    """What a GPU runs; it also runs here, slower."""
    query_lengths, key_lengths = (3, 5, 2), (4, 1, 6)
    q, k, v = packed(*query_lengths), packed(*key_lengths), packed(*key_lengths)
    found = _nested_attention(q, k, v, query_lengths, key_lengths, 0.0)
    torch.testing.assert_close(found, one_by_one(q, k, v, query_lengths, key_lengths))


def test_queries_of_each_image_attend_to_packed_keys():
    queries = torch.randn(2, 3, HEADS * DIM)
    memory = [torch.randn(1, n, HEADS * DIM) for n in (4, 6)]
    keys = torch.cat(memory, 1)
    found = attend(queries, keys, keys, HEADS, 0.0, key_lengths=(4, 6))
    alone = [attend(queries[i : i + 1], memory[i], memory[i], HEADS, 0.0) for i in range(2)]
    torch.testing.assert_close(found, torch.cat(alone))


def test_the_image_of_every_token():
    assert images_of((2, 0, 3), torch.device("cpu")).tolist() == [0, 0, 2, 2, 2]


def test_drop_path_drops_whole_images():
    torch.manual_seed(0)
    lengths = tuple([3] * 200)
    out = DropPath(0.25).train()(torch.ones(1, 600, 2), lengths)[0].view(200, -1)
    assert all(len(image.unique()) == 1 for image in out)
    kept = out[:, 0] > 0
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / 0.75))
    assert 0.6 < kept.float().mean() < 0.9
    assert torch.equal(DropPath(0.25).eval()(out[None], lengths), out[None])
