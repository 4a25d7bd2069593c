"""What all metrics ask of their arguments, and what they say if they do not get it."""

from collections.abc import Sequence

import numpy as np


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
    segmentations = check_maps(segmentations, name, num_classes)
    check_labels(segmentations, name, num_classes, ignore_label)
    return segmentations


def check_maps(segmentations, name: str, num_classes: int) -> np.ndarray:
    """`check_segmentations` without a look at the labels, which takes its time."""
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
    return segmentations


def check_labels(segmentations, name: str, num_classes: int, ignore_label: int | None, first: int = 0) -> int:
    """Raises ValueError for a label out of range, and returns the highest one.

    Args:
        segmentations, name, num_classes, ignore_label: as of `check_segmentations`.
        first: number of the first image, where these are but some of a batch.
    """
    if segmentations.dtype == bool:
        return 1
    highest = int(segmentations.max())
    if highest < num_classes and (segmentations.dtype.kind == "u" or segmentations.min() >= 0):
        return highest
    for index, labels in enumerate(segmentations, first):  # Image by image, which bounds the memory taken.
        wrong = (labels < 0) | (labels >= num_classes)
        if ignore_label is not None:
            wrong &= labels != ignore_label
        if wrong.any():
            ignore = "" if ignore_label is None else f" or the ignore label {ignore_label}"
            raise ValueError(
                f"Labels of {name} must be 0 to {num_classes - 1}{ignore}. Received: label {labels[wrong][0]} in image "
                f"{index}. Raise num_classes, or map that label to a class or to ignore_label."
            )
    return highest


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


def check_weights(weights, name: str, batch: int, size: int) -> np.ndarray:
    """Returns weights [B, size] float64, equal ones for None, or says what is wrong with them.

    Example:
        >>> check_weights(None, "grader_weights", batch=1, size=4)
        array([[0.25, 0.25, 0.25, 0.25]])
    """
    if weights is None:
        return np.full((batch, size), 1.0 / size)
    weights = np.asarray(weights, np.float64)
    if weights.shape not in ((size,), (batch, size)):
        raise ValueError(
            f"{name} must have shape [{size}] or [{batch}, {size}]. Received: {weights.shape}. Give one weight for "
            "each segmentation of an image."
        )
    total = weights.sum(axis=-1)
    if not (np.all(weights >= 0) and np.allclose(total, 1.0, rtol=0.0, atol=1e-5)):
        raise ValueError(
            f"{name} must be probabilities: at least 0, with sum 1 for each image. Received: least weight "
            f"{weights.min():g}, sums from {total.min():g} to {total.max():g}. Divide them by their sum."
        )
    return np.broadcast_to(weights, (batch, size))
