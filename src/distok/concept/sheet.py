"""Many pictures on one page."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_MARGIN = 8
_CAPTION = 22
_LONGEST_SIDE = 8192
_PAPER, _INK = (250, 249, 246), (70, 66, 60)


def contact_sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str] | None = None, columns: int | None = None, cell: int = 256
) -> Image.Image:
    """Lay pictures out in rows on one page, each fitted into a square cell, with a caption below where one is given.

    Args:
        pictures: at least one; sizes may differ.
        captions: one line a picture, cut where it is too long; None leaves them out.
        columns: pictures in a row; by default the page is about square.
        cell: side of a cell in pixels; made smaller where the page would pass 8192 pixels.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    caption = _CAPTION if captions else 0
    cell = max(16, min(cell, _LONGEST_SIDE // max(columns, rows) - _MARGIN - caption))
    page = Image.new("RGB", (columns * (cell + _MARGIN) + _MARGIN, rows * (cell + caption + _MARGIN) + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for index, picture in enumerate(pictures):
        left = _MARGIN + index % columns * (cell + _MARGIN)
        top = _MARGIN + index // columns * (cell + caption + _MARGIN)
        scale = cell / max(picture.size)
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
        page.paste(fitted, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
        if captions:
            draw.text((left + 2, top + cell + 3), _cut(captions[index], font, cell - 4), fill=_INK, font=font)
    return page


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip(" ,") + "…"
