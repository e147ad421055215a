"""Where the outputs of a photo's views and windows wait until rows of their scores are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedRandom

import torch
from jaxtyping import Float
from torch import Tensor

from vitseg.inference.scores import OutputScores, ScoreMap
from vitseg.layers.resize import needed_rows
from vitseg.outputs import Distribution, SegOutput

ROOM = 800_000_000
"""Bytes of outputs that are kept in memory."""


class Shelf:
    """The outputs of one photo: in memory as long as there is room, the others in temporary files.

    The numbers are the same. A temporary file has no name and goes with what it holds. Where there is no room on the
    disk either, outputs stay in memory all the same.

    Args:
        device: Where the outputs come from.

    Attributes:
        room: Bytes for further outputs in memory.
    """

    def __init__(self, device: torch.device):
        self.room = ROOM
        if (
            device.type == "cuda"
        ):  # beside a GPU files are slow, and half of what it has free is mostly more
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            self.room = max(ROOM, (torch.cuda.mem_get_info(device)[0] + unused) // 2)

    def put(self, outputs: Sequence[SegOutput]) -> Shelved:
        """Keep some outputs together.

        Args:
            outputs: Of one image each (`SegOutput.of_image`).
        """
        num_bytes = sum(output.num_bytes for output in outputs)
        if num_bytes > self.room:
            with suppress(OSError):  # no room, or no place for temporary files
                return Shelved(self, _in_a_file(outputs), 0)
        self.room -= num_bytes
        return Shelved(self, [OutputScores(output) for output in outputs], num_bytes)


class Shelved:
    """Outputs on a shelf.

    Attributes:
        scores: Of each.
    """

    def __init__(self, shelf: Shelf, scores: Sequence[ScoreMap], num_bytes: int):
        self.scores: Sequence[ScoreMap] = scores
        self._shelf, self._num_bytes = shelf, num_bytes

    def give_up(self) -> None:
        """Make room for others."""
        self.scores = []
        self._shelf.room += self._num_bytes
        self._num_bytes = 0


class FileScores:
    """Scores of an output whose masks are in a file, a row of the grid behind the other.

    Args:
        output: The output; its masks are not held.
        file: The file.
        place: Where in the file the masks begin, in bytes.
    """

    def __init__(self, output: SegOutput, file: BufferedRandom, place: int):
        masks = output.mask_logits
        self._grid = masks.shape  # (1, q, h, w)
        none = masks.new_empty((1, self._grid[1], 0, self._grid[3]))
        self._output, self._file, self._place = output.with_rows(none, 0), file, place
        self._device = masks.device
        self.size = output.input_size
        self.num_classes = output.num_classes
        self.distribution: Distribution = output.distribution

    def rows(self, start: int, stop: int) -> Float[Tensor, "k R W"]:
        _, num_queries, height, width = self._grid
        first, last = needed_rows(height, self._output.padded_size[0], start, stop)
        masks = torch.empty(last - first, width, num_queries)
        self._file.seek(self._place + 4 * first * width * num_queries)
        wanted = masks.numpy().data.cast("B")
        if self._file.readinto(wanted) != len(wanted):
            raise OSError("a temporary file has been cut off")
        masks = masks.to(self._device)[None].permute(0, 3, 1, 2)  # (1, q, rows, w)
        return self._output.with_rows(masks, first).scores((start, stop))[0]


def _in_a_file(outputs: Sequence[SegOutput]) -> list[FileScores]:
    """The outputs, written to one temporary file."""
    file = tempfile.TemporaryFile(prefix="vitseg-")  # noqa: SIM115
    scores: list[FileScores] = []
    try:
        for output in outputs:
            place = file.tell()
            masks = output.mask_logits[0].permute(1, 2, 0)  # (h, w, q)
            file.write(masks.cpu().contiguous().numpy().data)
            scores.append(FileScores(output, file, place))
        file.flush()
    except OSError:
        with suppress(OSError):
            file.close()
        raise
    return scores
