"""What every kind of explanation gives."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Sheet:
    """How a model came to the labels of one image.

    Attributes:
        picture: To be looked at.
        how_to_read: What is to be seen there; the same for every image of a model.
    """

    picture: Image.Image
    how_to_read: str
