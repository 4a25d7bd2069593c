"""Segmentations drawn into images pixel for pixel: outlines of several graders, class colours, hatching; numpy alone.

An outline is the outermost ring of pixels of the enlarged mask, so it lies exactly inside the border of what the grader
marked. Where outlines of several graders fall on one another, their colours take turns along the line: none hides
another, and a line of one colour is one grader's own.
"""

import colorsys

import numpy as np

IGNORED = (235, 60, 60)  # stripes over pixels without a label
TURN = 3  # pixels before the next grader's colour comes where outlines coincide


def resize(array, size):
    """Brings an image or class map to at most size x size pixels by a whole factor, without smoothing edges.

    Args:
        array: [H, W] integer or bool class map, or [H, W, C] float image.
        size: most pixels a side. What is larger is made smaller: images by means of blocks, masks so that a block with
            any marked pixel stays marked, class maps by the label in the block's middle.
    Returns:
        [h, w] or [h, w, C].

    Example:
        >>> resize(np.array([[0, 1]]), 5)
        array([[0, 0, 1, 1],
               [0, 0, 1, 1]])
        >>> resize(np.eye(4, dtype=bool), 2)
        array([[ True, False],
               [False,  True]])
    """
    height, width = array.shape[:2]
    factor = size // max(height, width)
    if factor:
        return array.repeat(factor, axis=0).repeat(factor, axis=1)
    block = -(-max(height, width) // size)
    if array.dtype.kind not in "bf":
        return array[block // 2 :: block, block // 2 :: block]
    rows, columns = height // block, width // block
    blocks = array[: rows * block, : columns * block].reshape(rows, block, columns, block, *array.shape[2:])
    return blocks.any(axis=(1, 3)) if array.dtype.kind == "b" else blocks.mean(axis=(1, 3))


def to_rgb(image):
    """[H, W, C] float in 0..1 to [H, W, 3] uint8; one channel is grey, a fourth is left out.

    Example:
        >>> to_rgb(np.array([[[0.5]]])).tolist()
        [[[128, 128, 128]]]
    """
    channels = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return np.rint(np.clip(channels, 0.0, 1.0) * 255).astype(np.uint8)


def outline(mask, thickness=1):
    """The pixels of a mask that are next to a pixel outside of it, corners included; beyond the edge is outside.

    Args:
        mask: [H, W] bool.
        thickness: rings.
    Returns:
        [H, W] bool.

    Example:
        >>> outline(np.ones((3, 4), bool)).astype(int)
        array([[1, 1, 1, 1],
               [1, 0, 0, 1],
               [1, 1, 1, 1]])
    """
    inside = mask
    for _ in range(thickness):
        padded = np.pad(inside, 1)
        height, width = inside.shape
        shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        inside = np.logical_and.reduce(shifted)
    return mask & ~inside


def draw_outlines(rgb, masks, colors, thickness=1):
    """Draws the outline of each mask in its colour; where several coincide, their colours take turns.

    Args:
        rgb: [H, W, 3] uint8.
        masks: [R, H, W] bool.
        colors: R triples of 0..255.
        thickness: of the line in pixels.
    Returns:
        [H, W, 3] uint8, a new array.
    """
    lines = np.stack([outline(mask, thickness) for mask in masks])  # [R, H, W]
    rows, columns = np.indices(rgb.shape[:2])
    number = lines.sum(axis=0)
    turn = (rows + columns) // TURN % np.maximum(number, 1)  # which of the graders here has its turn
    order = np.cumsum(lines, axis=0) - 1
    drawn = rgb.copy()
    for line, place, color in zip(lines, order, colors, strict=True):
        drawn[line & (place == turn)] = color
    return drawn


def hatch(rgb, mask, color=IGNORED):
    """Draws diagonal stripes over a mask [H, W]; the picture stays visible between them. Returns a new array."""
    rows, columns = np.indices(mask.shape)
    drawn = rgb.copy()
    drawn[mask & ((rows + columns) % 8 < 2)] = color
    return drawn


def class_colors(number):
    """Colours of classes, [number, 3] uint8: dark grey for class 0, then hues far apart, light and dark in turns."""
    colors = [(95, 95, 95)]
    for label in range(1, number):
        light = (1.0, 0.72, 0.88)[label % 3]
        colors.append([round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.75, light)])
    return np.array(colors[:number], np.uint8)


def draw_classes(labels, colors, ignore_label=255):
    """A class map [H, W] in colours [K, 3]; ignored pixels are black with stripes. Returns [H, W, 3] uint8."""
    ignored = labels == ignore_label
    drawn = colors[np.where(ignored, 0, labels)]
    drawn[ignored] = 0
    return hatch(drawn, ignored)
