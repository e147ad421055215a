"""Weight files of Swins in the three namings, written here from one model, and tables of another window."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from tests.backbones.test_swin import tiny_timm
from tests.checkpoint.swin_files import as_authors, as_mmseg
from vitseg.backbones.pyramid_weights import load_swin_file, resize_bias_table
from vitseg.errors import CheckpointError


def write(path: Path, naming: str, state: dict[str, Tensor]) -> Path:
    """As the three publish them: timm one table, the others pickles that hold more."""
    if naming == "timm":
        save_file(state | {"head.fc.weight": torch.zeros(5, 128)}, path)
    elif naming == "authors":
        extra = {"head.weight": torch.zeros(5, 128), "layers.0.blocks.1.attn_mask": torch.ones(2)}
        torch.save({"model": as_authors(state) | extra}, path)
    else:
        renamed = {f"backbone.{name}": value for name, value in as_mmseg(state).items()}
        torch.save({"meta": {}, "state_dict": renamed}, path)
    return path


def named(naming: str, folder: Path) -> Path:
    return folder / ("swin.safetensors" if naming == "timm" else "swin.pth")


@pytest.fixture(scope="module")
def source() -> SwinTransformer:
    return tiny_timm()


@pytest.mark.parametrize("naming", ["timm", "authors", "mmseg"])
def test_a_file_of_every_naming_loads(source, naming, tmp_path):
    path = write(named(naming, tmp_path), naming, source.state_dict())
    other = tiny_timm(seed=1)
    load_swin_file(other, path)
    for name, value in other.named_parameters():
        if not name.startswith("norm."):  # the classifier's, which is not used
            assert torch.equal(value, source.get_parameter(name)), name


def test_mmsegs_patch_merging_is_told_from_the_authors(source):
    """Same shapes, another order: what is not converted would load without a word."""
    state = source.state_dict()
    name = "layers.0.downsample.reduction.weight"
    theirs, mmsegs = as_authors(state)[name], as_mmseg(state)[name.replace("layers", "stages")]
    assert theirs.shape == mmsegs.shape
    assert not torch.equal(theirs, mmsegs)
    # (row 1, column 0) of channel 2, of 16: third column of four there, second group of 16 here
    assert torch.equal(mmsegs[:, 2 * 4 + 2], theirs[:, 16 + 2])


@pytest.mark.parametrize("naming", ["timm", "authors", "mmseg"])
def test_tables_of_another_window_are_resized(source, naming, tmp_path):
    path = write(named(naming, tmp_path), naming, source.state_dict())
    wider = tiny_timm(seed=1, window_size=6, img_size=192)
    load_swin_file(wider, path)
    name = "layers.2.blocks.1.attn.relative_position_bias_table"
    old, new = source.get_parameter(name), wider.get_parameter(name)
    for head in range(4):
        square = old[:, head].view(1, 1, 7, 7)
        expected = F.interpolate(square, (11, 11), mode="bicubic", align_corners=False)
        torch.testing.assert_close(new[:, head], expected.flatten())
    torch.testing.assert_close(new[60], old[24])  # no distance stays no distance
    assert torch.equal(wider.layers[1].downsample.norm.bias, source.layers[1].downsample.norm.bias)


def cubic(distance: float) -> float:
    """The kernel of bicubic resizing with a = -3/4, without smoothing."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_an_impulse_becomes_the_cubic_kernel():
    """A window of 7 to one of 12: timm's own way, with distances that grow geometrically, is another."""
    table = torch.zeros(13, 13, 2)
    table[6, 4, 1] = 1
    found = resize_bias_table(table.flatten(0, 1), 23**2).view(23, 23, 2)
    at = [(cell + 0.5) * 13 / 23 - 0.5 for cell in range(23)]
    expected = torch.tensor([[cubic(y - 6) * cubic(x - 4) for x in at] for y in at])
    torch.testing.assert_close(found[..., 1], expected, atol=1e-6, rtol=1e-5)
    assert found[..., 0].abs().max() == 0
    unchanged = table.flatten(0, 1)
    assert resize_bias_table(unchanged, 169) is unchanged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layers.3.blocks.1.mlp.fc2.bias": None},
            r"layers\.3\.blocks\.1\.mlp\.fc2\.bias is missing",
        ),
        ({"absolute_pos_embed": torch.zeros(1)}, "absolute_pos_embed is unknown to the model"),
        (
            {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(49, 3)},
            r"is \(49, 3\) in the file, \(49, 1\) in the model",
        ),
        (
            {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(50, 1)},
            r"is \(50, 1\) in the file, \(49, 1\) in the model",
        ),
    ],
)
def test_what_does_not_fit_is_named(source, changes, message, tmp_path):
    state = {**as_authors(source.state_dict()), **changes}
    torch.save({n: v for n, v in state.items() if v is not None}, tmp_path / "swin.pth")
    with pytest.raises(CheckpointError, match=message):
        load_swin_file(tiny_timm(), tmp_path / "swin.pth")
