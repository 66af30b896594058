"""The two sheets of the demo, drawn with Pillow: edits as film strips, and nearest neighbours."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wstar_service.demo.gallery import Neighbour, Portrait
from wstar_service.demo.strips import TARGET, Strip

TILE_PX = 128
_GAP_PX = 6
_GROUP_GAP_PX = 26
_CAPTION_PX = 22
_MARGIN_PX = 24
_TITLE_PX = 84
_LABEL_PX = 116
_PAPER, _INK, _FAINT, _ACCENT = "#fbfaf7", "#22262b", "#767b82", "#c2571a"
_FOOTER = "drawn faces; networks trained by this repository"


class _Sheet:
    """A page of square tiles with captions, drawn from the top left."""

    def __init__(self, rows: int, width_px: int, title: str) -> None:
        row_px = TILE_PX + _CAPTION_PX + _GAP_PX
        height_px = _TITLE_PX + rows * row_px + 3 * _MARGIN_PX
        self._page = Image.new("RGB", (width_px, height_px), _PAPER)
        self._draw = ImageDraw.Draw(self._page)
        self._row_px = row_px
        self.text(_MARGIN_PX, _MARGIN_PX - 4, title, size=22)
        self.text(_MARGIN_PX, height_px - _MARGIN_PX - 4, _FOOTER, colour=_FAINT)

    def row_y(self, row: int) -> int:
        """Upper edge of a row of tiles."""
        return _TITLE_PX + _MARGIN_PX + row * self._row_px

    def text(
        self, x: int, y: int, text: str, *, size: int = 14, colour: str = _INK, centre: bool = False
    ) -> None:
        """Write one line; with `centre`, x is its middle."""
        self._draw.text(
            (x, y),
            text,
            fill=colour,
            font=ImageFont.load_default(size),
            anchor="ma" if centre else "la",
        )

    def head(self, x: int, tiles: int, text: str) -> None:
        """Write the heading of a group of tiles and a line under it."""
        y = _TITLE_PX - 8
        self.text(x, y, text, size=15)
        end = x + tiles * (TILE_PX + _GAP_PX) - _GAP_PX
        self._draw.line((x, y + 22, end, y + 22), fill=_FAINT)

    def tile(
        self,
        x: int,
        y: int,
        picture: Image.Image,
        caption: str,
        *,
        marked: bool = False,
    ) -> None:
        """Paste a picture with its caption; `marked` frames it."""
        side = (TILE_PX, TILE_PX)
        self._page.paste(picture.resize(side, Image.Resampling.BICUBIC), (x, y))
        if marked:
            box = (x - 2, y - 2, x + TILE_PX + 1, y + TILE_PX + 1)
            self._draw.rectangle(box, outline=_ACCENT, width=3)
        middle = x + TILE_PX // 2
        self.text(middle, y + TILE_PX + 3, caption, colour=_ACCENT if marked else _INK, centre=True)

    def png(self) -> bytes:
        """Encode the page."""
        data = io.BytesIO()
        self._page.save(data, "PNG", optimize=True)
        return data.getvalue()


def edits_sheet(strips: Sequence[Strip]) -> bytes:
    """PNG of one row per attribute: the picture, then strengths in W*_ID, then in W+.

    The code itself is the same in both spaces, so strength 0 stands once.
    """
    steps = len(strips[0].w_star_id.results)
    left = _MARGIN_PX + _LABEL_PX
    first = left + TILE_PX + _GROUP_GAP_PX
    second = first + steps * (TILE_PX + _GAP_PX) + _GROUP_GAP_PX
    width_px = second + (steps - 1) * (TILE_PX + _GAP_PX) + _MARGIN_PX
    sheet = _Sheet(len(strips), width_px, f"Demo world: edits to probability {TARGET:g}")
    sheet.head(left, 1, "picture")
    sheet.head(first, steps, "in W*_ID: reconstruction, one third, two thirds, all")
    sheet.head(second, steps - 1, "the same edit in W+")
    for row, strip in enumerate(strips):
        y = sheet.row_y(row)
        sheet.text(_MARGIN_PX, y + TILE_PX // 2 - 8, strip.attribute.replace("_", " "), size=15)
        sheet.tile(left, y, Image.fromarray(strip.face.seen), _short(strip.face.name))
        groups = ((first, strip.w_star_id.results), (second, strip.w_plus.results[1:]))
        for start, results in groups:
            for column, result in enumerate(results):
                sheet.tile(
                    start + column * (TILE_PX + _GAP_PX),
                    y,
                    Image.open(io.BytesIO(result.picture)),
                    f"{result.scores[strip.attribute]:.2f}",
                )
    return sheet.png()


def neighbours_sheet(
    portraits: Sequence[Portrait],
    queries: Sequence[int],
    by_w_star: Sequence[Sequence[Neighbour]],
    by_w_plus: Sequence[Sequence[Neighbour]],
) -> bytes:
    """PNG of one row per query: the face, its nearest by W*, its nearest by W+.

    A framed face is found by one of the two only.
    """
    count = len(by_w_star[0])
    first = _MARGIN_PX + TILE_PX + _GROUP_GAP_PX
    second = first + count * (TILE_PX + _GAP_PX) + _GROUP_GAP_PX
    width_px = second + count * (TILE_PX + _GAP_PX) + _MARGIN_PX
    sheet = _Sheet(
        len(queries), width_px, "Demo world: nearest neighbours, squared distance under each"
    )
    sheet.head(_MARGIN_PX, 1, "query")
    sheet.head(first, count, "nearest by W*")
    sheet.head(second, count, "nearest by W+ (framed: found by one space only)")
    for row, query in enumerate(queries):
        y = sheet.row_y(row)
        sheet.tile(_MARGIN_PX, y, _seen(portraits[query].seen), _short(portraits[query].name))
        for start, own, other in (
            (first, by_w_star[query], by_w_plus[query]),
            (second, by_w_plus[query], by_w_star[query]),
        ):
            common = {neighbour.index for neighbour in other}
            for column, neighbour in enumerate(own):
                sheet.tile(
                    start + column * (TILE_PX + _GAP_PX),
                    y,
                    _seen(portraits[neighbour.index].seen),
                    f"{neighbour.squared_distance:#.3g}",
                    marked=neighbour.index not in common,
                )
    return sheet.png()


def _seen(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels)


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"
