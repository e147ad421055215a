"""Tar files of others: which members are images and masks, and what is said of cut, empty and odd ones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.shards.same import splits_of
from vitseg.data.catalog import FOLDER, list_splits, open_dataset, open_unchecked, parse_data_spec
from vitseg.data.shards.shard_root import ShardRoot
from vitseg.data.shards.write import write_shards
from vitseg.errors import ConfigError, DataError

IDS = np.array([[0, 1, 1], [0, 0, 255]], np.uint8)
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def pair(key: str, mask: str = "seg.png", image: str = "png") -> dict[str, bytes]:
    return {f"{key}.{image}": png(PIXELS), f"{key}.{mask}": png(IDS), f"{key}.json": b"{}"}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "set"
    write_tar(folder / "train-000.tar", {**pair("a"), **pair("b")})
    write_tar(folder / "train-001.tar", pair("deep/c"))
    write_tar(folder / "val/0000.tar", pair("./d"))
    (folder / "classes.json").write_text(json.dumps({"classes": ["sky", "road"]}))
    return folder


def test_splits_and_samples(root):
    assert list_splits(f"webdataset:{root}") == ("train", "val")
    dataset = open_dataset(f"webdataset:{root}", "train")
    assert dataset.ids == ("a", "b", "deep/c")
    assert dataset.source == f"2 .tar shards in {root}, images in png, masks in seg.png"
    for sample in dataset:
        np.testing.assert_array_equal(sample.image, PIXELS)
        assert sample.label_map.tolist() == [[0, 1, 1], [0, 0, -1]]
    assert open_dataset(f"webdataset:{root}", "val").ids == ("d",)
    assert dataset.image_name(2) == f"{root}/train-001.tar: deep/c"


def test_a_folder_of_nothing_else_is_found_to_be_one(root):
    assert FOLDER.detect(root) == ("webdataset", "3 .tar files and no others")
    (root / "photo.jpg").touch()
    with pytest.raises(DataError, match="Known formats"):
        FOLDER.detect(root)


def test_shards_without_a_split_in_their_names(tmp_path):
    write_tar(tmp_path / "shard-0000.tar", pair("a"))
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert list_splits(f"webdataset:{tmp_path}") == ("all",)


@pytest.mark.parametrize(
    ("names", "query", "found"),
    [
        (("jpg", "png"), "", "images in jpg, masks in png"),
        (("jpg", "mask.png"), "", "images in jpg, masks in mask.png"),
        (("image.png", "label.png"), "", "images in image.png, masks in label.png"),
        (("a.png", "b.png"), "?image=a.png&mask=b.png", "images in a.png, masks in b.png"),
    ],
)
def test_which_members_are_masks(tmp_path, names, query, found):
    image, mask = names
    write_tar(tmp_path / "s.tar", pair("x", mask, image))
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    dataset = open_dataset(f"webdataset:{tmp_path}{query}", "all")
    assert dataset.source.endswith(found)
    assert dataset[0].label_map[0, 1] == 1


@pytest.mark.parametrize(
    ("members", "query", "message"),
    [
        (("x.a.png", "x.b.png"), "", "no kind of members is masks. The members end in a.png (1)"),
        (("x.jpg", "x.seg.png", "x.mask.png"), "", "could be masks: seg.png, mask.png"),
        (("x.jpg", "x.png", "x.tif"), "", "could be masks: png, tif"),
        (("x.jpg", "x.webp", "x.mask.png"), "", "x has several images: jpg, webp"),
        (("x.mask.png",), "", "no kind of members is images"),
        (("x.jpg", "x.mask.png"), "?mask=msk.png", "Did you mean 'mask.png'?"),
        (("x.jpg", "x.mask.png"), "?image=jpeg", "image=jpeg: 'jpeg' is not a known kind"),
        (("x.txt",), "", "no kind of members is masks"),
        ((), "", "has no samples"),
    ],
)
def test_unclear_members(tmp_path, members, query, message):
    write_tar(tmp_path / "s.tar", dict.fromkeys(members, b"x"))
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError) as caught:
        open_dataset(f"webdataset:{tmp_path}{query}", "all")
    assert message in str(caught.value)


def test_roots():
    found = parse_data_spec("webdataset:s3://b/set?image=jpg&region=eu")[1]
    assert found == ShardRoot("s3://b/set?region=eu", "jpg")
    for text, message in (
        ("a?imag=x", "'imag' is not a known option. Did you mean 'image'"),
        ("a?id=x", "'id' is not a known option"),
        ("a?image=", "gives image no value"),
        ("?image=x", "is not written FOLDER"),
        ("a?masks=aside", "masks: 'aside' came"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_data_spec(f"webdataset:{text}")
        assert message in str(caught.value)


def test_a_class_file_is_needed_and_may_be_named(root, tmp_path):
    (root / "classes.json").rename(tmp_path / "names.json")
    with pytest.raises(DataError, match="has no class file"):
        open_dataset(f"webdataset:{root}", "train")
    (tmp_path / "names.json").rename(tmp_path / "classes.json")
    spec = f"webdataset:{root}?classes={tmp_path / 'classes.json'}"
    assert open_dataset(spec, "train").classes.names == ("sky", "road")


@pytest.mark.parametrize("cut", ["in content", "in a header", "between", "at the end mark"])
def test_a_cut_tar_file_is_told_with_what_is_left(root, cut):
    path = root / "train-000.tar"
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]  # the mask of b
    content = path.read_bytes()
    kept = {
        "in content": last.offset_data + 10,
        "in a header": last.offset + 100,
        "between": last.offset,
        "at the end mark": len(content.rstrip(b"\0")) // 512 * 512 + 512,
    }[cut]
    path.write_bytes(content[:kept])
    dataset = open_unchecked(f"webdataset:{root}", "train")
    whole = ("a", "b", "deep/c") if cut == "at the end mark" else ("a", "deep/c")
    assert dataset.ids == whole
    assert "damaged-shard" in [finding.code for finding in dataset.findings]
    with pytest.raises(DataError, match=r"missing or damaged: train-000\.tar is cut off"):
        open_dataset(f"webdataset:{root}", "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"train-001\.tar is empty"),
        (b"\x1f\x8b\x08" + bytes(600), r"train-001\.tar is no tar file without compression"),
        (b"text" * 400, r"train-001\.tar is no tar file"),
    ],
)
def test_what_is_no_tar_file(root, content, message):
    (root / "train-001.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(f"webdataset:{root}", "train")


def test_damage_in_the_middle(root):
    path = root / "train-000.tar"
    with tarfile.open(path) as tar:
        place = tar.getmembers()[3].offset
    content = bytearray(path.read_bytes())
    content[place : place + 512] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train-000\.tar is damaged {place:,} bytes"):
        open_dataset(f"webdataset:{root}", "train")


def test_compressed_files_are_named(tmp_path):
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"train\.tar\.gz is compressed: unpack it"):
        open_dataset(f"webdataset:{tmp_path}", "train")


def test_samples_without_image_or_mask(root):
    members = {**pair("a"), "x.png": png(PIXELS), "y.seg.png": png(IDS), "z.json": b"{}"}
    write_tar(root / "train-000.tar", members)
    dataset = open_unchecked(f"webdataset:{root}", "train")
    assert dataset.ids == ("a", "deep/c")
    told = {finding.code: finding.message for finding in dataset.findings}
    assert told["image-without-mask"] == "1 row has no mask: train-000.tar: x."
    assert told["id-without-image"] == "1 row has no image: train-000.tar: y."
    with pytest.raises(DataError, match="1 row has no"):
        open_dataset(f"webdataset:{root}", "train")


def test_two_samples_of_one_id(root):
    write_tar(root / "train-001.tar", pair("a"))
    with pytest.raises(DataError, match=r"1 row has the id of another: train-001\.tar: a\."):
        open_dataset(f"webdataset:{root}", "train")


@pytest.mark.parametrize("which", ["png", "seg.png"])
def test_a_picture_that_comes_twice_in_one_shard(root, which):
    with tarfile.open(root / "train-001.tar", "a") as tar:
        info = tarfile.TarInfo(f"deep/c.{which}")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"new"))
    with pytest.raises(DataError, match=r"1 row has the id of another: train-001\.tar: deep/c\."):
        open_dataset(f"webdataset:{root}", "train")


def test_other_members_may_come_twice(root):
    with tarfile.open(root / "train-001.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("deep/c.json"))
        tar.addfile(tarfile.TarInfo("deep/c.json"))
    assert len(open_dataset(f"webdataset:{root}", "train")) == 3


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_place_of_pictures_are_told(root, kind):
    with tarfile.open(root / "train-001.tar", "a") as tar:
        for name in ("e.png", "e.seg.png"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, f"deep/c{name[1:]}"
            tar.addfile(link)
    with pytest.raises(DataError, match=r"train-001\.tar has a link in place of a file, e\.png"):
        open_dataset(f"webdataset:{root}", "train")


def test_compressed_shards_beside_others_are_told(root):
    packed = root / "train-002.tar.gz"
    packed.write_bytes(b"x")
    (root / "train-000.tar.idx").write_bytes(b"x")
    assert len(open_dataset(f"webdataset:{root}", "val")) == 1
    with pytest.raises(DataError, match=r"1 shard of .* is compressed, .*: train-002\.tar\.gz\."):
        open_dataset(f"webdataset:{root}", "train")


def test_an_empty_shard_is_told(root, tmp_path):
    """A copy that broke off at once: its samples would be left out."""
    with tarfile.open(root / "train-002.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"1 shard of .* damaged: train-002\.tar has no files\."):
        open_dataset(f"webdataset:{root}", "train")
    with tarfile.open(tmp_path / "alone.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"has no samples: .*alone\.tar has no files\."):
        open_dataset(f"webdataset:{tmp_path}?classes={root / 'classes.json'}", "all")


def test_a_mask_of_another_size_names_shard_and_sample(root):
    write_tar(root / "val/0000.tar", {"d.png": png(PIXELS), "d.seg.png": png(IDS[:1])})
    with pytest.raises(DataError) as caught:
        open_dataset(f"webdataset:{root}", "val")[0]
    name = f"{root}/val/0000.tar: d"
    assert f"the mask of {name} is 3x1 pixels, but its image {name} is 3x2" in str(caught.value)


@pytest.mark.parametrize("which", ["png", "seg.png"])
def test_a_damaged_picture_names_shard_and_sample_once(root, which):
    members = pair("d")
    members[f"d.{which}"] = members[f"d.{which}"][:50]
    write_tar(root / "val/0000.tar", members)
    with pytest.raises(DataError, match=r"0000\.tar: d") as caught:
        open_dataset(f"webdataset:{root}", "val")[0]
    assert str(caught.value).count("0000.tar") == 1


def own(tmp_path: Path, root: Path) -> Path:
    write_shards(splits_of(f"webdataset:{root}"), tmp_path / "own", "webdataset", shard_bytes=300)
    return tmp_path / "own"


def test_own_shards_that_are_cut_or_gone_are_told_before_training(root, tmp_path):
    folder = own(tmp_path, root)
    path = folder / "train-00001.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-700])
    with pytest.raises(DataError, match=r"train-00001\.tar has [\d,]+ bytes \(of [\d,]+\)"):
        open_dataset(f"webdataset:{folder}", "train")
    dataset = open_unchecked(f"webdataset:{folder}", "train")
    assert dataset.ids == ("a", "b", "deep/c")
    path.write_bytes(content[:600])
    with pytest.raises(DataError, match=r"train-00001\.tar is cut off: its [\d,]+ bytes from"):
        [sample.id for sample in dataset]
    path.unlink()
    with pytest.raises(DataError, match=r"train-00001\.tar is not there"):
        open_dataset(f"webdataset:{folder}", "train")


@pytest.mark.parametrize("column", ["image", "mask"])
def test_own_samples_whose_bytes_changed_are_told(root, tmp_path, column):
    """Of the same length, and still a picture: another shard, or a damaged disk."""
    folder = own(tmp_path, root)
    index = json.loads((folder / "train-00000.index").read_text())
    start, size = index["parts"][column][0]
    path = folder / "train-00000.tar"
    content = bytearray(path.read_bytes())
    content[start + size - 1] ^= 1
    path.write_bytes(content)
    dataset = open_dataset(f"webdataset:{folder}", "train")
    with pytest.raises(DataError, match=rf"the {column} of .*: {index['ids'][0]} is not what was"):
        dataset[0]


def test_own_index_and_manifest_that_are_damaged(root, tmp_path):
    folder = own(tmp_path, root)
    index = folder / "train-00000.index"
    whole = index.read_bytes()
    for content, message in (
        (whole[:40], "cannot be read: it is no JSON"),
        (b"[]", "cannot be read: it is no index of a shard"),
        (whole.replace(b'"ids":["a"', b'"ids":["a","b"'), "its lists have different lengths"),
        (whole.replace(b'"digests":{"image":["', b'"digests":{"image":["x'), "or no digests"),
        (whole.replace(b'"mask":[[', b'"mask":[[-'), "have other fields, or no digests or places"),
        (whole.replace(b'"mask"', b'"masks"'), "have other fields"),
        (
            whole.replace(b'"mask":[[', b'"mask":[[99999'),
            "have other fields, or no digests or places",
        ),
        (
            whole.replace(b'"num_bytes":', b'"num_bytes":-'),
            "have other fields, or no digests or places",
        ),
    ):
        index.write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_dataset(f"webdataset:{folder}", "train")
    index.unlink()
    with pytest.raises(DataError, match=r"train-00000\.index does not exist: copy it, too"):
        open_dataset(f"webdataset:{folder}", "train")
    manifest = folder / "shards.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match=r"shards\.json is malformed: version"):
        open_dataset(f"webdataset:{folder}", "train")
    manifest.write_text("{")
    with pytest.raises(DataError, match=r"shards\.json cannot be read: it is no JSON"):
        open_dataset(f"webdataset:{folder}", "train")


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("classes", [], "at least 1 item"),
        ("classes", ["sky", "sky"], "names must be unique"),
        ("palette", [], "palette has 0"),
        ("mapping", {"0": 2}, "mapping has 0: 2, but values are 0-65535 and classes 0-1"),
        ("mapping", {"70000": 0}, "mapping has 70000: 0"),
    ],
)
def test_own_labels_that_fit_no_class(root, tmp_path, section, value, message):
    manifest = own(tmp_path, root) / "shards.json"
    content = json.loads(manifest.read_text())
    content["splits"]["train"]["about"]["labels"][section] = value
    manifest.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"shards\.json is malformed: .*{message}"):
        open_dataset(f"webdataset:{manifest.parent}", "train")


def test_own_manifests_that_list_nothing(root, tmp_path):
    manifest = own(tmp_path, root) / "shards.json"
    content = json.loads(manifest.read_text())
    content["splits"]["train"]["shards"] = []
    manifest.write_text(json.dumps(content))
    assert len(open_dataset(f"webdataset:{manifest.parent}", "val")) == 1
    with pytest.raises(DataError, match=r"split train of .* is empty"):
        open_dataset(f"webdataset:{manifest.parent}", "train")
    manifest.write_text(json.dumps(content | {"splits": {}}))
    with pytest.raises(DataError, match=r"shards\.json is malformed: splits"):
        open_dataset(f"webdataset:{manifest.parent}", "train")


def test_own_shards_are_of_one_kind_and_have_no_options(root, tmp_path):
    pytest.importorskip("pyarrow")
    folder = own(tmp_path, root)
    with pytest.raises(DataError, match=f"of the kind webdataset: write webdataset:{folder}"):
        open_dataset(f"parquet:{folder}", "train")
    with pytest.raises(ConfigError, match=r"leave out mask=\."):
        open_dataset(f"webdataset:{folder}?mask=png", "train")
    with pytest.raises(DataError, match=r"'test' is not a split of .* Valid: train, val"):
        open_dataset(f"webdataset:{folder}", "test")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        open_dataset(f"webdataset:{tmp_path / 'nowhere'}", "test")
