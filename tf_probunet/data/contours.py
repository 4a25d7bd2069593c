"""From the outlines that LIDC-IDRI's radiologists drew to masks, by the convention of its annotation protocol."""

from collections.abc import Iterable

import numpy as np


def rasterize(contours: Iterable, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Fills the contours of one reader on one slice.

    An LIDC outline runs through the first pixels *outside* the nodule, so the outline itself is not part of the mask.
    An exclusion contour (`inclusion` False) cuts a hole: what it encloses, its own outline with it, is not nodule.
    Holes are cut after every area is filled, so the order of the contours does not matter.

    Args:
        contours: the contours of one reader on one slice. Each has `points`, integers [P, 2], (row, column) in
            pixels of the whole slice, open or closed, every pixel of the outline listed (where it jumps, the pixels
            under the jump are filled as inside); and `inclusion`, a bool.
        shape: (height, width) of the mask in pixels.
        origin: (row, column) of the mask's first pixel in the slice. It may lie outside the slice.

    Returns:
        Mask, [height, width] bool. All False where no contour encloses a pixel, as an outline of one point does.

    Raises:
        ValueError: points that are not integers [P, 2], or a shape that is not two positive numbers.
        ImportError: scikit-image is absent.

    Source: the annotation protocol of LIDC-IDRI (Armato et al. 2011, doi 10.1118/1.3528204).

    Example:

    >>> from types import SimpleNamespace
    >>> ring = [[0, 0], [0, 1], [0, 2], [0, 3], [1, 3], [2, 3], [2, 2], [2, 1], [2, 0], [1, 0]]
    >>> int(rasterize([SimpleNamespace(points=ring, inclusion=True)], shape=(4, 4)).sum())  # two pixels lie within
    2
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(
            f"The shape of a mask must be (height, width) in pixels, each at least 1. Received: {tuple(shape)}. "
            "Pass the two sides alone, without channels."
        )
    mask = np.zeros(shape, bool)
    contours = list(contours)
    for contour in contours:
        if contour.inclusion:
            inside, outline = _filled(contour, mask.shape, origin)
            mask |= inside & ~outline
    for contour in contours:
        if not contour.inclusion:
            inside, outline = _filled(contour, mask.shape, origin)
            mask &= ~(inside | outline)
    return mask


def _filled(contour, shape, origin):
    """The closed polygon of a contour, and the pixels that were drawn: two masks, [height, width] bool each."""
    try:
        # Tests pixel centres against the polygon. Pillow's polygons differ in ten of LIDC's 41,406 contours, where an
        # outline jumps across several pixels and back: Pillow then paints the jump.
        from skimage.draw import polygon
    except ImportError as error:
        raise ImportError(
            "Filling the contours of LIDC-IDRI needs scikit-image, which could not be imported. "
            f"Received: {error}. Run `pip install tf_probunet[lidc]`."
        ) from error
    points = np.asarray(contour.points)
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.integer):
        raise ValueError(
            "The points of a contour must be integers of shape [P, 2], (row, column) in pixels. "
            f"Received: shape {points.shape}, {points.dtype}. Round and stack them first."
        )
    rows, columns = (points - np.asarray(origin, int)).T
    inside, outline = np.zeros(shape, bool), np.zeros(shape, bool)
    inside[polygon(rows, columns, shape)] = True
    within = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    # The listed points only, as pylidc and the public crops do: all but 1 % of the outlines list every pixel.
    outline[rows[within], columns[within]] = True
    return inside, outline
