"""Images that lie in larger files, such as shards: loaded one by one, and known without being loaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload


class StoredImages(Sequence[bytes]):
    """The content of images, each loaded when it is asked for; what messages and stamps need is known without."""

    @abstractmethod
    def load(self, index: int) -> bytes:
        """The content of image `index`.

        Raises:
            DataError: It cannot be read.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """The image for messages: where it is stored, and its id."""

    @abstractmethod
    def stamp(self, index: int) -> bytes:
        """A digest of image and mask, of a few bytes, that is another where their content is."""

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return PickedImages(self, range(len(self))[index])
        return self.load(range(len(self))[index])

    def __iter__(self) -> Iterator[bytes]:
        return (self.load(index) for index in range(len(self)))


class PickedImages(StoredImages):
    """Some images of others.

    Args:
        images: The others.
        indices: Positions in them.
    """

    def __init__(self, images: StoredImages, indices: Sequence[int]) -> None:
        self._images = images
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int) -> bytes:
        return self._images.load(self._indices[index])

    def name(self, index: int) -> str:
        return self._images.name(self._indices[index])

    def stamp(self, index: int) -> bytes:
        return self._images.stamp(self._indices[index])
