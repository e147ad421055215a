"""Which tool exported a folder of images and masks, where its files show it."""

from __future__ import annotations

from pathlib import Path

from vitseg.data.listing import sub_folders

CVAT_MASK = "CVAT export 'Segmentation mask 1.1'"
CVAT_CAMVID = "CVAT export 'CamVid 1.0'"
ROBOFLOW_MASK = "Roboflow export 'Semantic Segmentation Masks'"
LABELME_VOC = "export of labelme2voc"
VOC = "Pascal VOC layout"

_SPLITS = ("train", "valid", "val", "test")


def find_tool(root: Path) -> str:
    """The export in words, with the name that the tool's own menu gives it; "" if none is recognised."""
    folders = set(sub_folders(root)) if root.is_dir() else set()
    maps = [root / name for name in ("labelmap.txt", "label_colors.txt")]
    has_map = any(path.is_file() for path in maps)
    if has_map and any(name + "annot" in folders for name in folders):
        return CVAT_CAMVID
    in_voc = bool({"SegmentationClass", "SegmentationClassPNG"} & folders)
    if in_voc and maps[0].is_file():
        return CVAT_MASK
    if in_voc and (root / "class_names.txt").is_file():
        return LABELME_VOC
    if in_voc and "JPEGImages" in folders:
        return VOC
    places = [root, *(root / name for name in _SPLITS if name in folders)]
    if any((place / "_classes.csv").is_file() for place in places):
        return ROBOFLOW_MASK
    return ""
