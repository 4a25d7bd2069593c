"""Lays panels and captions out on one dark page, pixel for pixel: nothing is resampled, no text overlaps another."""

import dataclasses
import textwrap

import numpy as np

from tf_probunet import plots

DPI = 110  # of `plots`: one pixel of a panel is one of the file
FONT_POINTS = 7
LETTER = 7  # pixels, the width of any letter of DejaVu Sans Mono, which matplotlib brings, at this size (6.4 unhinted)
LINE = 16  # pixels of a line of text
GAP, SEAM = 14, 2  # pixels between tiles, and between panels of one tile
WIDEST, NARROWEST = 1760, 620  # pixels of a page; one tile that is wider makes it wider
BACKGROUND, TEXT = "#181818", "#d8d8d8"


@dataclasses.dataclass(frozen=True)
class Tile:
    """Panels [h, w, 3] uint8 side by side, and the lines under them, each of pieces (text, colour)."""

    panels: list[np.ndarray]
    captions: list[list[tuple[str, str]]]

    @property
    def width(self) -> int:
        """In pixels."""
        return sum(panel.shape[1] for panel in self.panels) + SEAM * (len(self.panels) - 1)

    @property
    def height(self) -> int:
        """In pixels, without captions."""
        return max(panel.shape[0] for panel in self.panels)


def write_page(tiles, path, *, title, legend=(), footer="", columns=None) -> tuple[int, int]:
    """Writes a page of tiles, row by row.

    Args:
        tiles: `Tile`s.
        path: PNG to write; it appears whole or not at all.
        title: first lines.
        legend: (name, colour) for squares in these colours under the title.
        footer: last lines, for the source.
        columns: tiles in a row; as many as fit if not given.
    Returns:
        (height, width) of the page in pixels.
    """
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    columns = min(columns or max(1, (WIDEST - GAP) // (width + GAP)), len(tiles))
    page_width = max(NARROWEST, columns * (width + GAP) + GAP)
    letters = letters_in(page_width - 2 * GAP)
    head = [[(line, TEXT)] for line in textwrap.wrap(title, letters)] + wrap_legend(legend, letters)
    foot = [[(line, "#909090")] for line in textwrap.wrap(footer, letters)]
    caption = max(len(tile.captions) for tile in tiles) * LINE
    top = 2 * GAP + LINE * len(head)
    step = height + caption + GAP
    page_height = top + step * -(-len(tiles) // columns) + LINE * len(foot) + GAP
    canvas = np.empty((page_height, page_width, 3), np.uint8)
    canvas[:] = rgb(BACKGROUND)
    texts = [(GAP, GAP + LINE * number, line) for number, line in enumerate(head)]
    texts += [(GAP, page_height - GAP - LINE * (len(foot) - number), line) for number, line in enumerate(foot)]
    for index, tile in enumerate(tiles):
        left, upper = GAP + index % columns * (width + GAP), top + index // columns * step
        x = left
        for panel in tile.panels:
            canvas[upper : upper + panel.shape[0], x : x + panel.shape[1]] = panel
            x += panel.shape[1] + SEAM
        texts += [(left, upper + tile.height + LINE * number, line) for number, line in enumerate(tile.captions)]
    draw_canvas(canvas, texts, path)
    return page_height, page_width


def letters_in(width) -> int:
    """How many letters of a caption fit into so many pixels."""
    return width // LETTER


def shorten(name, width) -> str:
    """A name that fits into so many pixels, its middle left out where it is longer.

    Example:
        >>> shorten("LIDC-IDRI-0001/n00_s000", 100)
        'LIDC-I…00_s000'
    """
    most = letters_in(width)
    if len(name) <= most:
        return name
    kept = max(most - 1, 2)
    return f"{name[: kept // 2]}…{name[len(name) - (kept - kept // 2) :]}"


def rgb(color) -> tuple[int, int, int]:
    """The numbers of a colour written "#rrggbb".

    Example:
        >>> rgb("#ff8000")
        (255, 128, 0)
    """
    return tuple(bytes.fromhex(color[1:]))


def hexadecimal(color) -> str:
    """Three numbers of 0..255 as "#rrggbb".

    Example:
        >>> hexadecimal((255, 128, 0))
        '#ff8000'
    """
    return "#" + bytes(int(part) for part in color).hex()


def wrap_legend(legend, letters):
    """Coloured squares with names beside them, of (name, colour), on as many lines of so many letters as they need."""
    lines, length = [], letters
    for name, color in legend:
        if length + len(name) + 2 > letters:
            lines.append([])
            length = 0
        lines[-1] += [("■ ", color), (name + "    ", TEXT)]
        length += len(name) + 6
    return lines


def draw_canvas(canvas, texts, path) -> None:
    """Writes a canvas with lines of text over it.

    Args:
        canvas: [height, width, 3] uint8; one pixel of it is one of the file.
        texts: (left, upper, line), in pixels, the line of pieces (text, colour).
        path: PNG to write; it appears whole or not at all.
    """
    plt = plots._pyplot()
    height, width = canvas.shape[:2]
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(canvas)
    for left, upper, line in texts:
        for text, color in line:
            figure.text(left / width, 1 - (upper + LINE / 2) / height, text, color=color, fontsize=FONT_POINTS,
                        family="DejaVu Sans Mono", va="center_baseline", parse_math=False)
            left += len(text) * LETTER
    plots._save(plt, figure, path)
