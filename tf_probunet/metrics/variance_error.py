"""Does a model say where it errs? Correlation over pixels of the spread of its samples with their error.

Of image x with samples s_1 .. s_M, class probabilities [H, W, K], and their mean s, over pixels:

    spread       E_ss = mean_i CE(s, s_i)        error  E_sy = mean_i CE(y, s_i)
    correlation  mean over graders y of NCC(E_ss, E_sy)

CE(a, b) = -sum_k a_k log(b_k + 1e-8) is the cross-entropy at each pixel and NCC the zero-normalised cross-correlation,
which is Pearson's correlation over the pixels. Cross-entropy stands for variance because it is defined for classes.
Both maps need no more than two means over the samples, of s_i and of log(s_i + 1e-8), whatever M is.

Source: Baumgartner et al. 2019 (PHiSeg), S_NCC, and the authors' code (`variance_ncc_dist` of utils.py), which takes
the mean over samples within one NCC for each grader, as here.
"""

import numpy as np

from tf_probunet.metrics.checks import check_same_images, check_segmentations, check_weights

EPSILON = 1e-8  # as in the authors' code; no probability counts as less


def variance_error_correlation(
    probabilities, graders, ignore_label: int | None = 255, grader_weights=None
) -> np.ndarray:
    """Correlation of spread and error of each image.

    Args:
        probabilities: [B, M, H, W, K] class probabilities of the samples: softmax of logits, or one-hot class maps.
        graders: [B, R, H, W] integer class maps.
        ignore_label: pixels that a grader marks so are left out of that grader's correlation.
        grader_weights: probability of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        [B] float64 in [-1, 1]; NaN where either map is constant for any grader of positive weight, as it is where
        samples are equal and certain: there is nothing to correlate then.
    Raises:
        ValueError: shapes do not fit or labels are out of range.

    Example: the samples disagree on the second pixel, and that is where the grader is missed.
        >>> import numpy as np
        >>> samples = np.eye(2)[np.array([[[[1, 1, 0]], [[1, 0, 0]]]])]
        >>> variance_error_correlation(samples, np.array([[[[1, 0, 0]]]])).round(6)
        array([1.])
        >>> variance_error_correlation(samples[:, :1], np.array([[[[1, 0, 0]]]]))
        array([nan])
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 5 or probabilities.shape[1] == 0:
        raise ValueError(
            f"probabilities must be [B, M, H, W, K], M at least 1. Received: {probabilities.shape}. Take the softmax "
            "of `model.sample(...)` over its last axis."
        )
    logarithms = np.log(probabilities + EPSILON).mean(axis=1, dtype=np.float64)
    means = probabilities.mean(axis=1, dtype=np.float64)
    return variance_error_correlation_from_means(means, logarithms, graders, ignore_label, grader_weights)


def variance_error_correlation_from_means(
    mean_probability, mean_logarithm, graders, ignore_label: int | None = 255, grader_weights=None
) -> np.ndarray:
    """Correlation of spread and error of each image, from two means over its samples.

    Args:
        mean_probability: [B, H, W, K], mean of s_i.
        mean_logarithm: [B, H, W, K], mean of log(s_i + EPSILON).
        graders, ignore_label, grader_weights: as of `variance_error_correlation`.
    Returns, Raises: as of `variance_error_correlation`.

    Example:
        >>> import numpy as np
        >>> mean = np.array([[[[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]]])
        >>> graders = np.array([[[[1, 0, 0]]]])
        >>> variance_error_correlation_from_means(mean, np.log(mean + EPSILON), graders).round(2)
        array([0.94])
    """
    mean_probability, mean_logarithm = np.asarray(mean_probability), np.asarray(mean_logarithm)
    if mean_probability.ndim != 4 or mean_logarithm.shape != mean_probability.shape:
        raise ValueError(
            "mean_probability and mean_logarithm must both be [B, H, W, K]. Received: "
            f"{mean_probability.shape} and {mean_logarithm.shape}. Take both means over the samples' axis."
        )
    graders = check_segmentations(graders, "graders", mean_probability.shape[-1], ignore_label)
    batch, num_graders, *size = graders.shape
    check_same_images(np.broadcast_to(0, (len(mean_probability), 1, *mean_probability.shape[1:3])), graders)
    weights = check_weights(grader_weights, "grader_weights", batch, num_graders)

    result = np.empty(batch)
    for index in range(batch):  # image by image, which bounds the memory taken
        used = weights[index] > 0
        labels = graders[index][used].reshape(used.sum(), -1)  # shape: [R, P]
        logarithms = mean_logarithm[index].reshape(labels.shape[1], -1).astype(np.float64)  # shape: [P, K]
        spread = -np.einsum("pk,pk->p", mean_probability[index].reshape(logarithms.shape), logarithms)  # E_ss
        known = np.ones(labels.shape, bool) if ignore_label is None else labels != ignore_label
        # Usually all graders label the same pixels, and share what is computed from them.
        shared = [(slice(None), known[0])] if (known == known[:1]).all() else list(enumerate(known))
        correlations = [
            _correlation(spread[pixels], logarithms[pixels], np.atleast_2d(labels[rows])[:, pixels])
            for rows, pixels in shared
        ]
        result[index] = np.concatenate(correlations) @ weights[index][used]
    return result


def _correlation(spread: np.ndarray, logarithms: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pearson's correlation of E_ss [P] with E_sy of each grader: logarithms [P, K], labels [R, P]; NaN if constant."""
    num_pixels = len(spread)
    if not num_pixels:
        return np.full(len(labels), np.nan)
    # E_sy, shape: [R, P]; taking from a flat array is several times as fast as indexing by pixel and label.
    errors = (-logarithms).ravel().take(labels + logarithms.shape[1] * np.arange(num_pixels))
    spread = spread - spread.mean()
    errors -= errors.mean(axis=1, keepdims=True)
    norms = np.sqrt((spread**2).sum()), np.sqrt(np.einsum("rp,rp->r", errors, errors))
    # Constant but for rounding: the deviation of a pixel is far below any that means something.
    constant = np.minimum(*norms) <= 1e-9 * np.sqrt(num_pixels)
    correlation = np.einsum("rp,p->r", errors, spread) / np.where(constant, 1.0, norms[0] * norms[1])
    return np.where(constant, np.nan, np.clip(correlation, -1.0, 1.0))
