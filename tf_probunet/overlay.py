"""Segmentations drawn into images pixel for pixel: outlines of several graders, class colours, hatching; numpy alone.

An outline is the outermost ring of pixels of the enlarged mask, so it lies exactly inside the border of what the grader
marked. Where outlines of several graders fall on one another, their colours take turns along the line: none hides
another, and a line of one colour is one grader's own.
"""

import functools

import numpy as np

IGNORED = (235, 60, 60)  # stripes over pixels without a label
BACKGROUND = (95, 95, 95)  # class 0
# Of OKLab: from linear sRGB to the responses of the eye's three kinds of cones, and from their cube roots on.
TO_CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                     [0.0883024619, 0.2817188376, 0.6299787005]])
FROM_CONES = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                       [0.0259040371, 0.7827717662, -0.8086757660]])
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


@functools.cache
def class_colors(number):
    """Colours of classes, [number, 3] uint8: dark grey for class 0, then each time what is farthest from all before.

    Distances are those of OKLab (Ottosson 2020), in which equal ones look about equal. Far from black and red as well,
    in which `draw_classes` draws what is ignored. Fewer classes have the first of the colours of more.
    """
    levels = np.rint(np.linspace(40, 240, 14))
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    points = _oklab(candidates)
    clear = (points[:, 0] > 0.35) & (points[:, 0] < 0.92)  # neither nearly black nor nearly white
    candidates, points = candidates[clear], points[clear]
    chosen = [BACKGROUND]
    distance = np.min([np.sum((points - _oklab(taken)) ** 2, axis=-1) for taken in ((0, 0, 0), IGNORED, BACKGROUND)],
                      axis=0)
    while len(chosen) < number:
        farthest = np.argmax(distance)
        chosen.append(candidates[farthest])
        distance = np.minimum(distance, np.sum((points - points[farthest]) ** 2, axis=-1))
    colors = np.array(chosen[:number], np.uint8)
    colors.setflags(write=False)  # one array for all who ask
    return colors


def _oklab(rgb):
    """sRGB of 0..255 in OKLab, both [..., 3]."""
    rgb = np.asarray(rgb, np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_CONES.T) @ FROM_CONES.T


def draw_classes(labels, colors, ignore_label=255):
    """A class map [H, W] in colours [K, 3]; ignored pixels are black with stripes. Returns [H, W, 3] uint8."""
    ignored = labels == ignore_label
    drawn = colors[np.where(ignored, 0, labels)]
    drawn[ignored] = 0
    return hatch(drawn, ignored)
