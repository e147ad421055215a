"""By which suffixes folders are searched for pictures. A file is then decoded by its content, whatever its name."""

from __future__ import annotations

import os

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif",
    ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif",
    ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c",
)  # fmt: skip
"""Suffixes of files that are read, lower case."""

ARRAY_SUFFIX = ".npy"
"""Of arrays, which are pictures where a folder of images holds no others: beside pictures they are something else."""

OTHER_PICTURES = (
    ".tga", ".psd", ".psb", ".xcf", ".exr", ".hdr", ".jxl", ".jxr", ".jls", ".svg", ".ico", ".icns", ".eps", ".pcx",
    ".pfm", ".pam", ".qoi", ".dds", ".sgi", ".ras", ".xpm", ".xbm", ".fits", ".fit",
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".raw",
    ".dcm", ".nii", ".nrrd", ".mha", ".czi", ".lif", ".nd2", ".svs", ".ndpi", ".img", ".vrt", ".ecw", ".sid", ".ntf",
    ".nitf", ".jng", ".mng", ".wmf", ".emf", ".bpg", ".pdf", ".ai", ".rwl", ".srw", ".x3f", ".kdc", ".dcr",
    ".mrw", ".erf", ".3fr", ".iiq", ".gpr", ".rgbe", ".kra", ".afphoto",
)  # fmt: skip
"""Suffixes of pictures that are not read: a folder's reader names such files rather than pass over them."""


def is_image_name(name: str) -> bool:
    """Whether a folder's file of this name or path is taken for a picture that is read; hidden files are not."""
    return _has(name, IMAGE_SUFFIXES)


def is_array_name(name: str) -> bool:
    """Whether a folder's file of this name or path is an array, which is a picture where there are no others."""
    return _has(name, (ARRAY_SUFFIX,))


def is_other_picture(name: str) -> bool:
    """Whether a file of this name or path looks like a picture in a format that is not read."""
    return _has(name, OTHER_PICTURES)


def _has(name: str, suffixes: tuple[str, ...]) -> bool:
    # asked for every file of a data set: most others are told by their last letters
    return name.lower().endswith(suffixes) and not os.path.basename(name).startswith(".")
