"""Versions that a model or a result was made with."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("vitseg", "torch", "torchvision", "timm", "lightning", "numpy", "Pillow")


def package_versions() -> dict[str, str]:
    """Versions by package name; packages that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
