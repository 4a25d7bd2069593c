"""Is the mean probability right? Of the pixels given 70 %, 70 % should be what was said.

The mean over the samples' class probabilities is a forecast for each pixel. Pixels are sorted into bins by their
confidence; in each the mean confidence is set against how often it was right. A grader counts by weight, so the target
of a pixel is the share of graders. Bins hold sums, so those of several images are added.

Source: Guo et al. 2017 (On Calibration of Modern Neural Networks), equations 2 to 5; Naeini et al. 2015.
"""

from typing import NamedTuple

import numpy as np

from tf_probunet.metrics.checks import check_classes, check_same_images, check_segmentations, check_weights

NUM_BINS = 15  # Guo et al. 2017


class ReliabilityCurve(NamedTuple):
    """What a reliability diagram shows; all [num_bins], NaN where a bin is empty (share: 0).

    Attributes:
        confidence: mean probability of the pixels in the bin.
        accuracy: how often they were what was said.
        share: of all pixels.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray


def reliability_bins(
    mean_probability,
    graders,
    classes=None,
    num_bins: int = NUM_BINS,
    ignore_label: int | None = 255,
    grader_weights=None,
) -> np.ndarray:
    """Sums over the pixels of each image by confidence.

    Args:
        mean_probability: [B, H, W, K], mean over the samples' class probabilities.
        graders: [B, R, H, W] integer class maps.
        classes: the confidence is the probability that the pixel is of one of these, and right is a grader who says
            so: (1,) for the foreground of two classes. None: the confidence is that of the likeliest class, and right
            is a grader who drew that class (top-label calibration); of two classes it is never below 1/2.
        num_bins: bins of equal width between 0 and 1.
        ignore_label: a pixel that a grader marks so does not count for that grader.
        grader_weights: probability of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        [B, num_bins, 3] float64: pixels (by the weight of the graders who labelled them), summed confidence, and
        summed accuracy.
    Raises:
        ValueError: shapes do not fit, or a label or class is out of range.

    Example: two pixels at 0.9, of which half of the graders call one foreground.
        >>> import numpy as np
        >>> mean = np.array([[[[0.1, 0.9], [0.1, 0.9]]]])
        >>> reliability_bins(mean, np.array([[[[1, 1]], [[1, 0]]]]), classes=(1,), num_bins=2).tolist()
        [[[0.0, 0.0, 0.0], [2.0, 1.8, 1.5]]]
    """
    mean_probability = np.asarray(mean_probability)
    if mean_probability.ndim != 4 or num_bins < 1:
        raise ValueError(
            "mean_probability must be [B, H, W, K] and num_bins at least 1. Received: shape "
            f"{mean_probability.shape}, num_bins {num_bins}. Take the softmax of logits, and the mean over samples."
        )
    batch, height, width, num_classes = mean_probability.shape
    graders = check_segmentations(graders, "graders", num_classes, ignore_label)
    check_same_images(np.broadcast_to(0, (batch, 1, height, width)), graders)
    weights = check_weights(grader_weights, "grader_weights", batch, graders.shape[1])
    known = np.ones(graders.shape, bool) if ignore_label is None else graders != ignore_label
    if classes is None:
        top = mean_probability.argmax(axis=-1)
        confidence = mean_probability.max(axis=-1)
        right = graders == top[:, None]
    else:
        classes = check_classes(classes, num_classes, ignore_label)
        confidence = mean_probability[..., list(classes)].sum(axis=-1)
        right = np.isin(graders, classes)
    pixels = np.einsum("brhw,br->bhw", known, weights)
    hits = np.einsum("brhw,br->bhw", right & known, weights)
    bins = np.clip((confidence * num_bins).astype(np.intp), 0, num_bins - 1)  # 1.0 belongs to the last
    places = (bins + num_bins * np.arange(batch)[:, None, None]).ravel()
    sums = [
        np.bincount(places, values.ravel(), minlength=batch * num_bins)
        for values in (pixels, pixels * confidence, hits)
    ]
    return np.stack(sums, axis=-1).reshape(batch, num_bins, 3)


def calibration_error(bins) -> np.ndarray:
    """Expected calibration error: |accuracy - confidence| of the bins, weighted by their pixels.

    Args:
        bins: [..., num_bins, 3] of `reliability_bins`; sum over images for the figure of a data set.
    Returns:
        [...] float64 in [0, 1]; NaN without any pixel. Pixels that are certain and right, most of the background,
        make it small: compare it between models on the same images, not between data sets.

    Source: Guo et al. 2017, equation 5.

    Example:
        >>> float(calibration_error([[10, 2.0, 3.0], [10, 9.0, 7.0]]))
        0.15
    """
    bins = np.asarray(bins, np.float64)
    total = bins[..., 0].sum(axis=-1)
    error = np.abs(bins[..., 2] - bins[..., 1]).sum(axis=-1)
    return np.where(total > 0, error / np.where(total > 0, total, 1), np.nan)


def maximum_calibration_error(bins, min_share: float = 0.0) -> np.ndarray:
    """Largest |accuracy - confidence| of any bin.

    Args:
        bins: [..., num_bins, 3] of `reliability_bins`.
        min_share: leave out bins with a smaller share of the pixels, whose accuracy is mostly chance.
    Returns:
        [...] float64 in [0, 1]; NaN without any pixel.

    Source: Guo et al. 2017, equation 4.

    Example:
        >>> float(maximum_calibration_error([[10, 2.0, 3.0], [10, 9.0, 7.0]]))
        0.2
    """
    bins = np.asarray(bins, np.float64)
    pixels = bins[..., 0]
    total = pixels.sum(axis=-1, keepdims=True)
    counted = (pixels > 0) & (pixels >= min_share * total)
    gaps = np.abs(bins[..., 2] - bins[..., 1]) / np.where(counted, pixels, 1)
    return np.where(counted.any(axis=-1), np.where(counted, gaps, 0).max(axis=-1), np.nan)


def reliability_curve(bins) -> ReliabilityCurve:
    """Mean confidence and accuracy of each bin.

    Args:
        bins: [num_bins, 3] of `reliability_bins`, summed over images.
    Returns:
        `ReliabilityCurve`.

    Example:
        >>> reliability_curve([[10, 2.0, 3.0], [0, 0, 0]])
        ReliabilityCurve(confidence=array([0.2, nan]), accuracy=array([0.3, nan]), share=array([1., 0.]))
    """
    bins = np.asarray(bins, np.float64)
    pixels = bins[:, 0]
    filled = np.where(pixels > 0, pixels, np.nan)
    return ReliabilityCurve(bins[:, 1] / filled, bins[:, 2] / filled, pixels / max(pixels.sum(), 1e-300))
