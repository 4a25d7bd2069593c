"""Sheets of samples: all models of a comparison on one image, in the manner of figure 3 of the paper."""

import colorsys
import textwrap

import numpy as np

from tf_probunet import overlay
from tf_probunet.plots import COLORS
from tf_probunet.sheet_page import (
    BACKGROUND,
    GAP,
    LETTER,
    LINE,
    SEAM,
    TEXT,
    draw_canvas,
    hexadecimal,
    letters_in,
    rgb,
    shorten,
    wrap_legend,
)

TILE = 128  # most pixels a side
LABEL_LETTERS = 20  # of a line beside a row
GRADER_COLOR, SAMPLE_COLOR = COLORS[4], COLORS[5]
FILL = 0.22  # of the outline's colour within it, so that a mask that fills the image differs from none
RAMP = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)])  # magma's, at quarters


def sample_sheet(case, rows, path, *, title, footer="", classes=("background", "lesion"), colors=None,
                 ignore_label=255, num_samples=8, probability="mean probability") -> tuple[int, int]:
    """One image: what graders drew, and below, a row for each model, its samples and their mean probability.

    Args:
        case: image [H, W, C] uint8, segmentations [R, H, W] uint8 and their titles, `references` [R].
        rows: of each model its label, samples [M, H, W] uint8 and probability [H, W] uint8.
        path: PNG to write.
        title, footer: first and last lines.
        classes: names; of two the second is outlined, more are drawn in colours.
        colors: of more than two classes, [K, 3] uint8.
        ignore_label: of pixels without a label.
        num_samples: samples a row at most.
        probability: title of the last column.
    Returns:
        (height, width) of the page in pixels.
    """
    shown = min(num_samples, max(len(samples) for _, samples, _ in rows))
    base = overlay.to_rgb(overlay.resize(case["image"] / 255.0, TILE))
    height, width = base.shape[:2]
    columns = max(1 + len(case["segmentations"]), shown + 1)
    left = GAP + LABEL_LETTERS * LETTER + GAP
    page_width = left + columns * (width + SEAM) + GAP
    letters = letters_in(page_width - 2 * GAP)
    maps = [case["segmentations"], *[samples[:shown] for _, samples, _ in rows]]
    legend = wrap_legend(_present(maps, classes, colors), letters) + wrap_legend(SHADES, letters)
    head = [[(line, TEXT)] for line in textwrap.wrap(title, letters)] + legend
    foot = [[(line, "#909090")] for line in textwrap.wrap(footer, letters)]
    top = 2 * GAP + LINE * len(head)
    start = top + LINE + height + GAP + LINE  # of the first model's row
    page_height = start + len(rows) * (height + SEAM) + GAP + LINE * len(foot) + GAP
    canvas = np.empty((page_height, page_width, 3), np.uint8)
    canvas[:] = rgb(BACKGROUND)
    texts = [(GAP, GAP + LINE * number, line) for number, line in enumerate(head)]
    texts += [(GAP, page_height - GAP - LINE * (len(foot) - number), line) for number, line in enumerate(foot)]

    def place(column, upper, panel, note=""):
        x = left + column * (width + SEAM)
        canvas[upper : upper + height, x : x + width] = panel
        if note:
            canvas[upper + height - LINE : upper + height, x : x + width] //= 4
            texts.append((x + 3, upper + height - LINE, [(note, TEXT)]))

    def caption(column, upper, text):
        texts.append((left + column * (width + SEAM), upper, [(shorten(text, width), "#909090")]))

    of_graders, of_samples = (GRADER_COLOR, SAMPLE_COLOR) if colors is None else (colors, colors)
    caption(0, top, "image")
    place(0, top + LINE, base)
    for number, mask in enumerate(case["segmentations"]):
        caption(1 + number, top, case["references"][number])
        place(1 + number, top + LINE, *draw_segmentation(base, mask, of_graders, ignore_label))
    for number in range(shown):
        caption(number, start - LINE, f"sample {number + 1}")
    caption(shown, start - LINE, probability)
    for row, (label, samples, mean) in enumerate(rows):
        upper = start + row * (height + SEAM)
        lines = textwrap.wrap(label, LABEL_LETTERS)
        for number, line in enumerate(lines):
            texts.append((GAP, upper + (height - LINE * len(lines)) // 2 + LINE * number, [(line, TEXT)]))
        for number, mask in enumerate(samples[:shown]):
            place(number, upper, *draw_segmentation(base, mask, of_samples, ignore_label))
        place(shown, upper, heat(overlay.resize(mean[..., None] / 255.0, TILE)[..., 0]))
    draw_canvas(canvas, texts, path)
    return page_height, page_width


def draw_segmentation(base, mask, colors, ignore_label=255, thickness=None) -> tuple[np.ndarray, str]:
    """A segmentation over its image, and a note where an outline alone could not be read.

    Args:
        base: [h, w, 3] uint8, the image as large as it is drawn.
        mask: [H, W] class map, which h and w are a multiple or a part of.
        colors: "#rrggbb" of the outline of class 1; or [K, 3] uint8, to draw every class in its colour.
        ignore_label: of pixels without a label, which are striped.
        thickness: of the outline; 2 where the image is enlarged, else 1, if not given.
    Returns:
        [h, w, 3] uint8, and "nothing" for an empty mask, "everything" for one without background, or "".

    Example:
        >>> draw_segmentation(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8), "#ff8000")[1]
        'everything'
    """
    size = max(base.shape[:2])
    if not isinstance(colors, str):
        return overlay.draw_classes(overlay.resize(mask, size), colors, ignore_label), ""
    filled, ignored = mask == 1, mask == ignore_label
    large = overlay.resize(filled, size)
    drawn = overlay.hatch(base, overlay.resize(ignored, size))
    tinted = np.rint((1 - FILL) * drawn[large] + FILL * np.array(rgb(colors))).astype(np.uint8)
    drawn = drawn.copy()
    drawn[large] = tinted
    thickness = thickness or (2 if size >= 2 * max(mask.shape) else 1)
    drawn = overlay.draw_outlines(drawn, [large], [rgb(colors)], thickness)
    return drawn, "nothing" if not filled.any() else "everything" if (filled | ignored).all() else ""


def heat(values):
    """Numbers of 0..1, [H, W], as colours from black over violet to pale yellow, [H, W, 3] uint8.

    Example:
        >>> heat(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 4], [252, 253, 191]]]
    """
    stops = np.linspace(0, 1, len(RAMP))
    return np.stack([np.rint(np.interp(values, stops, RAMP[:, part])) for part in range(3)], -1).astype(np.uint8)


def palette(classes, flips=()) -> np.ndarray | None:
    """Colours of classes, [K, 3] uint8; None for two classes, which are told apart by an outline.

    With flips, a class and its twin share a hue, the class dark and the twin light, and classes that do not flip are
    grey: what differs between segmentations is what catches the eye.

    Args:
        classes: names.
        flips: entries of `dataset.json`, with the names `from` and `to`.

    Example:
        >>> palette(("road", "car", "road 2"), [{"from": "road", "to": "road 2", "probability": 0.5}]).tolist()
        [[166, 33, 33], [110, 110, 110], [255, 140, 140]]
    """
    if len(classes) == 2:
        return None
    if not flips:
        return overlay.class_colors(len(classes))
    colors = np.empty((len(classes), 3), np.uint8)
    names = {name for flip in flips for name in (flip["from"], flip["to"])}
    rest = [label for label, name in enumerate(classes) if name not in names]
    for place, label in enumerate(rest):
        colors[label] = 60 + 140 * place // max(len(rest) - 1, 1) if len(rest) > 1 else 110
    for number, flip in enumerate(flips):
        for name, saturation, value in ((flip["from"], 0.8, 0.65), (flip["to"], 0.45, 1.0)):
            rgb_parts = colorsys.hsv_to_rgb(number / len(flips), saturation, value)
            colors[classes.index(name)] = [round(255 * part) for part in rgb_parts]
    return colors


def _present(maps, classes, colors):
    """(name, colour) of the classes that are there; none of two classes, whose outlines need no legend."""
    if colors is None:
        return []
    labels = sorted(set().union(*(np.unique(values).tolist() for values in maps)) & set(range(len(classes))))
    return [(classes[label], hexadecimal(colors[label])) for label in labels]


SHADES = [(f"probability {value:g}", hexadecimal(heat(np.array([[value]]))[0, 0])) for value in (0, 0.25, 0.5, 0.75, 1)]
