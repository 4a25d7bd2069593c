"""Intersection over union between every pair of two stacks of segmentations, and the distance 1 - IoU."""

from collections.abc import Sequence

import numpy as np

from tf_probunet.metrics import pair_counts
from tf_probunet.metrics.checks import check_classes, check_labels, check_maps, check_same_images, check_segmentations


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
    return _mean_over_classes(class_iou, ~np.isnan(class_iou))


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
    same = second is first  # Half of the work is then done once.
    first = check_segmentations(first, "first", num_classes, ignore_label)
    second = first if same else check_segmentations(second, "second", num_classes, ignore_label)
    check_same_images(first, second)
    classes = check_classes(classes, num_classes, ignore_label)
    sides = [_flat(first)], None if same else [_flat(second)]
    intersection, union = pair_counts.count_pairs(*sides, classes, ignore_label)
    return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)


def joint_distances(
    samples,
    graders,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distances between samples and graders, among samples, and among graders, at once.

    Args:
        samples: [B, M, H, W] integer class maps; pixels that no grader of the image labelled do not count in them,
            see `ignore_unlabelled`.
        graders: [B, R, H, W] integer class maps.
        num_classes, classes, ignore_label: as of `pairwise_distance`.
    Returns:
        [B, M, R], [B, M, M] and [B, R, R] float64: what three calls of `pairwise_distance` give.
    Raises:
        ValueError: as of `pairwise_distance`.

    Example:
        >>> import numpy as np
        >>> [distances.tolist() for distances in joint_distances(np.array([[[[1, 1]]]]), np.array([[[[1, 0]]]]), 2)]
        [[[[0.5]]], [[[0.0]]], [[[0.0]]]]
    """
    samples, graders = check_maps(samples, "samples", num_classes), check_maps(graders, "graders", num_classes)
    check_same_images(samples, graders)
    classes = check_classes(classes, num_classes, ignore_label)
    num_samples, num_all = samples.shape[1], samples.shape[1] + graders.shape[1]
    distances = np.empty((len(samples), num_all, num_all))
    # Few images at a time go through all steps, so that their labels are fetched from memory once.
    step = max(1, pair_counts.LABELS // (samples[0].size + graders[0].size))
    for start in range(0, len(samples), step):
        images = slice(start, start + step)
        highest = max(
            check_labels(stack[images], name, num_classes, ignore_label, start)
            for name, stack in (("samples", samples), ("graders", graders))
        )
        stacks = [samples[images], graders[images]]
        if ignore_label is not None and ignore_label <= highest:
            stacks[0] = ignore_unlabelled(*stacks, ignore_label)
        intersection, union = pair_counts.count_pairs(list(map(_flat, stacks)), None, classes, ignore_label, highest)
        distances[images] = 1.0 - _mean_over_classes(intersection / np.maximum(union, 1), union > 0)
    return (
        distances[:, :num_samples, num_samples:],
        distances[:, :num_samples, :num_samples],
        distances[:, num_samples:, num_samples:],
    )


def _flat(segmentations):
    if segmentations.dtype == bool:
        segmentations = segmentations.view(np.uint8)  # which is compared with a label sooner
    return segmentations.reshape(*segmentations.shape[:2], -1)  # shape: [B, M, P]


def _mean_over_classes(class_iou, present) -> np.ndarray:
    """Mean over the last axis of what is present; 1 without any, because empty agrees with empty."""
    num_present = present.sum(axis=-1)
    # np.nanmean would warn of pairs without any class.
    total = np.where(present, class_iou, 0.0).sum(axis=-1)
    return np.where(num_present > 0, total / np.maximum(num_present, 1), 1.0)


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
