"""Pixels in the intersection and in the union of every pair of masks, counted 64 pixels at a time.

Masks are packed into bits; a pair's intersection is the number of bits set in the `and` of their words. Words in which
neither stack of masks has a pixel add nothing to an intersection and are left out first, so a small lesion in a large
image costs what its surroundings do. All numbers are integers, so all counts are exact.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

LABELS = 2**21  # of segmentations at a time
WORDS = 2**15  # of pairs at a time (256 KiB), which stay in the cache


def count_pairs(
    first: Sequence[np.ndarray], second, classes: Sequence[int], ignore_label: int | None = 255,
    highest: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Counts for every pair of the segmentations of each image.

    Args:
        first: arrays of integer labels, [B, M_1, P], [B, M_2, P], .. of P pixels each, which stand for one of all M
            segmentations.
        second: the same, of R segmentations; None for `first` itself.
        classes: C labels under test, `ignore_label` not among them.
        ignore_label: a pixel that either of a pair marks so is left out of that pair; None if no label means that.
        highest: label of all, if known; what cannot be there is then not looked for.
    Returns:
        intersection and union, both [B, M, R, C] int64.

    Example:
        >>> first, second = np.array([[[1, 1, 0]]]), np.array([[[1, 0, 1], [0, 0, 0]]])
        >>> intersection, union = count_pairs([first], [second], classes=[1])
        >>> intersection[..., 0].tolist(), union[..., 0].tolist()
        ([[[1, 0]]], [[[3, 2]]])
        >>> count_pairs([first, second], None, classes=[1])[0][..., 0].tolist()
        [[[2, 1, 0], [1, 2, 0], [0, 0, 0]]]
    """
    sides = [first] if second is None else [first, second]
    rows = [sum(stack.shape[1] for stack in side) for side in sides]
    batch, _, size = first[0].shape
    if highest is not None and ignore_label is not None and highest < ignore_label:
        ignore_label = None
    # Two classes in bytes are the masks of the foreground as they are.
    as_they_are = highest == 1 and all(stack.dtype == np.uint8 for side in sides for stack in side)
    intersection = np.zeros((batch, rows[0], rows[-1], len(classes)), np.int64)
    sizes = np.zeros_like(intersection)
    num_pixels = max(64, LABELS // sum(rows) // 64 * 64)
    for pixels in _blocks(size, num_pixels):
        for images in _blocks(batch, LABELS // sum(rows) // min(size, num_pixels)):
            parts = [[stack[images, :, pixels] for stack in side] for side in sides]
            if as_they_are and tuple(classes) == (1,):
                _add([_pack(side) for side in parts], intersection[images, ..., 0], sizes[images, ..., 0])
            else:
                _count_block(parts, classes, ignore_label, intersection[images], sizes[images])
    return intersection, sizes - intersection


def _count_block(sides, classes, ignore_label, intersection, sizes):
    """Adds the counts of some pixels to `intersection` and `sizes`, the sum of both masks' sizes: [B, M, R, C]."""
    partial = ignore_label is not None and not _ignore_alike(sum(sides, []), ignore_label)
    if partial:
        known = [_pack([stack != ignore_label for stack in side]) for side in sides]
    for index, label in enumerate(classes):
        masks = [_pack([stack == label for stack in side]) for side in sides]
        if partial:  # The size of a mask depends on the partner too, whose ignored pixels are left out.
            intersection[..., index] += _common(masks[0], masks[-1])
            sizes[..., index] += _common(masks[0], known[-1]) + _common(known[0], masks[-1])
        else:
            _add(masks, intersection[..., index], sizes[..., index])


def _add(masks, intersection, sizes):
    """Adds the counts of packed masks, one or two sides of [B, M, W] words: [B, M, R]."""
    common = _common(masks[0], masks[-1])
    intersection += common
    if len(masks) == 1:
        size = other = np.diagonal(common, axis1=1, axis2=2)
    else:
        size, other = (_sum(np.bitwise_count(mask)) for mask in masks)
    sizes += size[:, :, None] + other[:, None]


def _pack(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Masks [B, M_1, P], [B, M_2, P], .. as words [B, M, ceil(P / 64)] uint64, the last filled up with zeros.

    Masks are bool, or bytes, of which any but 0 is a bit that is set.
    """
    batch, _, num_pixels = masks[0].shape
    packed = np.zeros((batch, sum(mask.shape[1] for mask in masks), 8 * -(-num_pixels // 64)), np.uint8)
    start = 0
    for mask in masks:
        stop = start + mask.shape[1]
        packed[:, start:stop, : -(-num_pixels // 8)] = np.packbits(mask, axis=2)
        start = stop
    return packed.view(np.uint64)


def _sum(counts: np.ndarray) -> np.ndarray:
    return counts.sum(axis=-1, dtype=np.uint32)  # of at most LABELS; a wider type takes longer


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bits that each of [B, M, W] words has in common with each of [B, R, W]: [B, M, R]."""
    filled = np.bitwise_or.reduce(first, axis=1)
    if second is not first:
        filled &= np.bitwise_or.reduce(second, axis=1)
    result = np.empty((len(first), first.shape[1], second.shape[1]), np.uint32)
    # Memory that is used again and again; asking for it anew takes longer than the counting.
    both = np.empty(max(WORDS, second[0].size), np.uint64)
    bits = np.empty(both.shape, np.uint8)
    for index, columns in enumerate(filled):
        keep = _filled_words(columns)
        ours = keep(first[index])
        theirs = ours if second is first else keep(second[index])
        for rows in _blocks(len(ours), WORDS // max(theirs.size, 1)):
            # Of a stack with itself what is left of the diagonal has been counted right of it.
            columns = slice(rows.start if second is first else 0, None)
            shape = (len(ours[rows]), *theirs[columns].shape)
            words, counts = (memory[: math.prod(shape)].reshape(shape) for memory in (both, bits))
            np.bitwise_and(ours[rows, None], theirs[columns], out=words)
            result[index, rows, columns] = _sum(np.bitwise_count(words, out=counts))
            if second is first:
                result[index, columns, rows] = result[index, rows, columns].T
    return result


def _filled_words(columns: np.ndarray):
    """A function that leaves out of words [M, W] what is 0 in `columns` [W]."""
    octets = columns.view(np.uint8)
    kept = octets.nonzero()[0]
    if 4 * len(kept) > len(octets):
        kept = columns.nonzero()[0]
        return lambda words: words.take(kept, axis=1)
    # Of words in which small things are drawn, most of the eight bytes are empty. One of those fills the last word up.
    kept = np.concatenate([kept, np.full(-len(kept) % 8, octets.argmin())])
    return lambda words: words.view(np.uint8).take(kept, axis=1).view(np.uint64)


def _ignore_alike(stacks: Sequence[np.ndarray], ignore_label: int) -> bool:
    """Whether all segmentations of each image ignore the same pixels, the usual case; no class holds those pixels."""
    if all(stack.max() < ignore_label for stack in stacks):
        return True
    ignored = stacks[0][:, :1] == ignore_label
    return all(((stack == ignore_label) == ignored).all() for stack in stacks)


def _blocks(size: int, length: int) -> Iterator[slice]:
    length = max(1, length)
    return (slice(start, start + length) for start in range(0, size, length))
