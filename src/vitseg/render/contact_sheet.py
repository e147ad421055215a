"""Pictures side by side, in rows, under column headers."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (250, 250, 248)
TEXT = (32, 33, 36)
WIDEST = 4
"""Width of a picture on a sheet at most, in heights: one of a few rows and thousands of columns fills the memory."""


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], headers: Sequence[str], cell_height: int = 240
) -> Image.Image:
    """Lay pictures out in a grid, for example image | ground truth | prediction.

    Args:
        rows: The pictures, each row as long as `headers`. They are scaled to `cell_height`, very wide ones to less;
            indexed ones (mode P) without blending, so that their colours stay those of the palette.
        headers: One per column.
        cell_height: Height of a picture on the sheet, in pixels.
    """
    assert rows and all(len(row) == len(headers) for row in rows), (
        "every row needs one picture per header"
    )
    cells = [[_to_height(picture, cell_height) for picture in row] for row in rows]
    font_size = max(12, cell_height // 14)
    font = ImageFont.load_default(size=font_size)
    gap = max(4, cell_height // 24)
    widths = [
        max([round(font.getlength(header)), *(row[column].width for row in cells)])
        for column, header in enumerate(headers)
    ]
    lefts = [gap + sum(widths[:column]) + column * gap for column in range(len(headers))]
    header_height = round(font_size * 1.5) + gap // 2

    size = (
        sum(widths) + gap * (len(headers) + 1),
        gap // 2 + header_height + len(rows) * (cell_height + gap),
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for left, header in zip(lefts, headers, strict=True):
        draw.text((left, gap // 2 + header_height // 2), header, fill=TEXT, font=font, anchor="lm")
    for number, row in enumerate(cells):
        top = gap // 2 + header_height + number * (cell_height + gap)
        for left, picture in zip(lefts, row, strict=True):
            sheet.paste(picture, (left, top))
    return sheet


def size_on_sheet(size: tuple[int, int], cell_height: int) -> tuple[int, int]:
    """(width, height) of a picture on a sheet, by its own (width, height)."""
    scale = min(cell_height / size[1], WIDEST * cell_height / size[0])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _to_height(picture: Image.Image, height: int) -> Image.Image:
    size = size_on_sheet(picture.size, height)
    if picture.mode == "P":
        return picture.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
