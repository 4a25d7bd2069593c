"""Intersection over union between every pair of two stacks of segmentations, and the distance 1 - IoU.

Intersections of all pairs are counted at once as a matrix product of one-hot masks: [M, P] x [P, R] over P pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# One-hot numbers held at a time (1 MiB of float32, which stays in the cache). No count within a block exceeds 2^24, up
# to which float32 holds every integer exactly; blocks are added up in float64.
BLOCK = 2**18


def pairwise_distance(
    first,
    second,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Distance d = 1 - IoU between each of `first` and each of `second`, image by image.

    Two segmentations without any of `classes` are at distance 0, one with and one without at distance 1. Of several
    classes the IoU is averaged over those that at least one of the pair holds.

    Args:
        first: [B, M, H, W] integer class maps.
        second: [B, R, H, W] integer class maps.
        num_classes: K, background included; labels are 0 to K - 1.
        classes: the classes under test; None stands for the foreground, 1 to K - 1.
        ignore_label: a pixel that either of a pair marks so is left out of that pair; None if no label means that.
    Returns:
        [B, M, R] float64 in [0, 1].
    Raises:
        ValueError: shapes do not fit, an array is empty or holds no class maps, or a label or class is out of range.

    Source: Kohl et al. 2018, section 3: d(x, y) = 1 - IoU(x, y).

    Example:
        >>> import numpy as np
        >>> lesion, nothing = [[0, 1], [0, 1]], [[0, 0], [0, 0]]
        >>> pairwise_distance(np.array([[lesion, nothing]]), np.array([[[[0, 1], [1, 1]], nothing]]), num_classes=2)
        array([[[0.33333333, 1.        ],
                [1.        , 0.        ]]])
    """
    return 1.0 - pairwise_iou(first, second, num_classes, classes, ignore_label)


def pairwise_iou(
    first,
    second,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Mean IoU between each of `first` and each of `second`; 1 where neither holds any of the classes.

    Args, Raises: as of `pairwise_distance`.
    Returns:
        [B, M, R] float64 in [0, 1].

    Example: one pixel in common of two; neither holds class 2, so it does not count.
        >>> import numpy as np
        >>> pairwise_iou(np.array([[[[1, 1]]]]), np.array([[[[1, 0]]]]), num_classes=3)
        array([[[0.5]]])
    """
    class_iou = pairwise_class_iou(first, second, num_classes, classes, ignore_label)
    present = ~np.isnan(class_iou)
    num_present = present.sum(axis=-1)
    total = np.where(present, class_iou, 0.0).sum(axis=-1)
    # np.nanmean would warn of pairs without any class; for those empty agrees with empty, which is an IoU of 1.
    return np.where(num_present > 0, total / np.maximum(num_present, 1), 1.0)


def pairwise_class_iou(
    first,
    second,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """IoU of each class between each of `first` and each of `second`; NaN where a class is absent from both.

    Args, Raises: as of `pairwise_distance`.
    Returns:
        [B, M, R, C] float64, C in the order of `classes`.

    Example:
        >>> import numpy as np
        >>> pairwise_class_iou(np.array([[[[1, 1]]]]), np.array([[[[1, 0]]]]), num_classes=3)
        array([[[[0.5, nan]]]])
    """
    same = second is first  # The one-hots of a stack against itself are needed once.
    first = check_segmentations(first, "first", num_classes, ignore_label)
    second = first if same else check_segmentations(second, "second", num_classes, ignore_label)
    check_same_images(first, second)
    classes = check_classes(classes, num_classes, ignore_label)
    class_iou = np.full((*first.shape[:2], second.shape[1], len(classes)), np.nan)
    for images in _blocks(len(first), BLOCK // (first[0].size + second[0].size)):
        intersection, union = _count(first[images], second[images], same, classes, ignore_label)
        np.divide(intersection, union, out=class_iou[images], where=union > 0)
    return class_iou


def _count(first, second, same: bool, classes, ignore_label) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in the intersection and in the union of each pair and class: two arrays [B, M, R, C] float64."""
    num_images, num_first, num_second = len(first), first.shape[1], second.shape[1]
    first = first.reshape(num_images, num_first, -1)  # shape: [B, M, P]
    second = second.reshape(num_images, num_second, -1)  # shape: [B, R, P]
    intersection = np.zeros((num_images, num_first, num_second, len(classes)))
    sizes = np.zeros_like(intersection)
    for pixels in _blocks(first.shape[2], BLOCK // (num_images * (num_first + num_second))):
        labels_first, labels_second = first[:, :, pixels], second[:, :, pixels]
        partial = ignore_label is not None and not _ignore_alike(labels_first, labels_second, ignore_label)
        if partial:
            known_first = _numbers(labels_first != ignore_label)  # shape: [B, M, P]
            known_second = _numbers(labels_second != ignore_label).swapaxes(1, 2)  # shape: [B, P, R]
        for index, label in enumerate(classes):
            mask_first = _numbers(labels_first == label)  # shape: [B, M, P]
            mask_second = (mask_first if same else _numbers(labels_second == label)).swapaxes(1, 2)  # shape: [B, P, R]
            intersection[..., index] += mask_first @ mask_second
            if partial:  # The size of a mask depends on the partner too, whose ignored pixels are left out.
                sizes[..., index] += mask_first @ known_second + known_first @ mask_second
            else:
                sizes[..., index] += mask_first.sum(axis=2)[:, :, None] + mask_second.sum(axis=1)[:, None, :]
    return intersection, sizes - intersection


def _ignore_alike(first: np.ndarray, second: np.ndarray, ignore_label: int) -> bool:
    """Whether all segmentations of each image ignore the same pixels, the usual case; no class holds those pixels."""
    known = first[:, :1] != ignore_label
    return np.array_equal(first != ignore_label, np.broadcast_to(known, first.shape)) and np.array_equal(
        second != ignore_label, np.broadcast_to(known, second.shape)
    )


def _numbers(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)


def _blocks(size: int, length: int) -> Iterator[slice]:
    length = max(1, length)
    return (slice(start, start + length) for start in range(0, size, length))


def ignore_unlabelled(samples, graders, ignore_label: int | None = 255) -> np.ndarray:
    """Marks in every sample the pixels that no grader of the image labelled.

    A sample fills every pixel with a class, unlabelled ones too. Without this step, two samples would be compared on
    pixels on which no sample is compared with a grader.

    Args:
        samples: [B, M, H, W] integer class maps.
        graders: [B, R, H, W] integer class maps.
        ignore_label: what unlabelled pixels hold; None returns the samples as they are.
    Returns:
        [B, M, H, W] class maps; `samples` itself when every pixel has a label.
    Raises:
        ValueError: samples and graders are not of the same images.

    Example:
        >>> import numpy as np
        >>> ignore_unlabelled(np.array([[[[1, 1, 0]]]]), np.array([[[[255, 1, 0]], [[255, 255, 0]]]]))
        array([[[[255,   1,   0]]]], dtype=int32)
    """
    samples, graders = np.asarray(samples), np.asarray(graders)
    check_same_images(samples, graders)
    if ignore_label is None:
        return samples
    unlabelled = (graders == ignore_label).all(axis=1, keepdims=True)  # shape: [B, 1, H, W]
    if not unlabelled.any():
        return samples
    return np.where(unlabelled, np.int32(ignore_label), samples.astype(np.int32))


def check_segmentations(segmentations, name: str, num_classes: int, ignore_label: int | None = 255) -> np.ndarray:
    """Returns `segmentations` as an array [B, R, H, W] of integers or bools, or says what is wrong with them.

    Args:
        segmentations: what should be integer (or bool) class maps [B, R, H, W], none of B, R, H, W being 0.
        name: what to call them in an error.
        num_classes: K; labels must be 0 to K - 1 or `ignore_label`.
        ignore_label: the one further label allowed, or None.
    Raises:
        ValueError: floats, another rank, an empty array, or a label out of range.

    Example:
        >>> import numpy as np
        >>> check_segmentations(np.array([[[[0, 7]]]]), "graders", num_classes=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: Labels of graders must be 0 to 1 or the ignore label 255. Received: label 7 in image 0. ...
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)) or num_classes < 2:
        raise ValueError(
            f"num_classes must be an integer of at least 2, background included. Received: {num_classes!r}. "
            "For a single foreground class give 2."
        )
    segmentations = np.asarray(segmentations)
    if segmentations.dtype.kind not in "iub":
        raise ValueError(
            f"{name} must be integer class maps [B, R, H, W]. Received: dtype {segmentations.dtype}, shape "
            f"{segmentations.shape}. Take the argmax of logits over their last axis; cast class maps to int32."
        )
    if segmentations.ndim != 4 or segmentations.size == 0:
        raise ValueError(
            f"{name} must be class maps of shape [B, R, H, W], none of them 0. Received: {segmentations.shape}. "
            "For one segmentation an image insert an axis of size 1; leave empty batches out."
        )
    if segmentations.min() < 0 or segmentations.max() >= num_classes:
        _check_labels(segmentations, name, num_classes, ignore_label)
    return segmentations


def _check_labels(segmentations: np.ndarray, name: str, num_classes: int, ignore_label: int | None):
    for index, labels in enumerate(segmentations):  # Image by image, which bounds the memory taken.
        wrong = (labels < 0) | (labels >= num_classes)
        if ignore_label is not None:
            wrong &= labels != ignore_label
        if wrong.any():
            ignore = "" if ignore_label is None else f" or the ignore label {ignore_label}"
            raise ValueError(
                f"Labels of {name} must be 0 to {num_classes - 1}{ignore}. Received: label {labels[wrong][0]} in image "
                f"{index}. Raise num_classes, or map that label to a class or to ignore_label."
            )


def check_same_images(first: np.ndarray, second: np.ndarray):
    """Raises ValueError unless [B, M, H, W] and [B, R, H, W] agree in B, H and W."""
    if first.ndim != 4 or second.ndim != 4 or first.shape[0] != second.shape[0] or first.shape[2:] != second.shape[2:]:
        raise ValueError(
            "Segmentations to compare must be of the same images, [B, M, H, W] and [B, R, H, W]. "
            f"Received: {first.shape} and {second.shape}. Bring both to the same B, H and W."
        )


def check_classes(classes: Sequence[int] | None, num_classes: int, ignore_label: int | None = 255) -> tuple[int, ...]:
    """Returns the classes under test, the foreground 1 to K - 1 when None, or says what is wrong with them.

    Example:
        >>> check_classes(None, num_classes=4)
        (1, 2, 3)
    """
    chosen = tuple(range(1, num_classes)) if classes is None else tuple(int(label) for label in classes)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(num_classes)):
        raise ValueError(
            f"classes must be one or more distinct labels of 0 to {num_classes - 1}. Received: {chosen}. "
            "Leave classes out to test the whole foreground."
        )
    if ignore_label in chosen:
        raise ValueError(
            f"A class under test cannot be ignored at the same time. Received: ignore_label {ignore_label}, which is "
            "one of the classes. Expected another label, or None where every pixel is labelled. Change ignore_label."
        )
    return chosen
