"""Which tool exported a folder of images and masks, where its files show it."""

from __future__ import annotations

from pathlib import Path

from vitseg.data.listing import both_ends, files_of, sub_folders

CVAT_MASK = "CVAT export 'Segmentation mask 1.1'"
CVAT_CAMVID = "CVAT export 'CamVid 1.0'"
ROBOFLOW_MASK = "Roboflow export 'Semantic Segmentation Masks'"
LABELME_VOC = "export of labelme2voc"
VOC = "Pascal VOC layout"

_SPLITS = ("train", "valid", "val", "test")


def find_foreign(root: Path) -> str:
    """The tool whose own files a folder holds, which are not read, and what to export instead; "" if there is none."""
    for path in files_of(root, (".json",)) + files_of(root / "annotations", (".json",)):
        ends = b"".join(both_ends(path, _SNIFFED))
        for tool, keys, instead in _FOREIGN:
            if all(key in ends for key in keys):
                return f"{path} is {tool}, which is not read: {instead}."
    boxes = files_of(root / "Annotations", (".xml",)) + files_of(root / "annotations", (".xml",))
    if boxes:
        return (
            f"{boxes[0]} holds boxes, and no masks: annotate polygons or masks, and export these."
        )
    return ""


_SNIFFED = 65536  # bytes from either end of a file
_FOREIGN = (
    ("a project of VIA", (b'"_via_settings"',), "choose Annotation > Export Annotations (COCO format)"),
    ("an annotation file of VIA", (b'"region_attributes"',), "choose Annotation > Export Annotations (COCO format)"),
    ("of a Supervisely project", (b'"classes"', b'"title"', b'"shape"'), "export it as COCO or as masks"),
    ("of a Datumaro project", (b'"items"', b'"label"'), "export it as COCO: datum convert -f coco_instances"),
    ("an export of Labelbox", (b'"data_row"', b'"projects"'), "convert it to COCO, or to one mask an image"),
)  # fmt: skip


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
