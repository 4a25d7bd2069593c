"""The squared generalised energy distance between the distribution of samples and that of graders.

D^2_GED = 2 E d(S, Y) - E d(S, S') - E d(Y, Y')      (Kohl et al. 2018, eq. 5; Szekely & Rizzo 2013)

where d = 1 - IoU, S and S' are independent samples, Y and Y' independent graders. The expectations are means over
all ordered pairs, i = i' included (the V-statistic), as in the literature. A small figure alone says little: even a
perfect sampler scores E d(Y, Y') / n with n samples, so print `floor` beside it.
"""

from typing import NamedTuple

import numpy as np

from tf_probunet.metrics.checks import check_weights
from tf_probunet.metrics.iou import joint_distances


class EnergyDistance(NamedTuple):
    """Energy distance of each image and the three expectations it is made of; all [B] float64.

    Attributes:
        energy_distance: 2 * cross - sample_diversity - grader_diversity.
        cross: E d(S, Y), how far samples are from graders.
        sample_diversity: E d(S, S'), how far samples are from each other.
        grader_diversity: E d(Y, Y'), how far graders are from each other.
    """

    energy_distance: np.ndarray
    cross: np.ndarray
    sample_diversity: np.ndarray
    grader_diversity: np.ndarray


def energy_distance(
    samples,
    graders,
    num_classes: int,
    classes=None,
    ignore_label: int | None = 255,
    sample_weights=None,
    grader_weights=None,
) -> EnergyDistance:
    """Squared generalised energy distance between the samples and the graders of each image.

    It is never negative (1 - mean IoU over the classes that a pair holds is of negative type) as long as all graders
    of an image ignore the same pixels. Pixels that all of them ignore are left out of every pair. Where graders
    ignore different pixels, pairs are compared on different pixels, and a value below 0 is possible.

    Args:
        samples: [B, M, H, W] integer class maps.
        graders: [B, R, H, W] integer class maps.
        num_classes: K, background included.
        classes: the classes under test; None stands for the foreground, 1 to K - 1.
        ignore_label: a pixel that either of a pair marks so is left out of that pair; None if no label means that.
        sample_weights: probability of each sample, [M] or [B, M], summing to 1; None: all alike.
        grader_weights: probability of each grader (or ground-truth mode), [R] or [B, R]; None: all alike.
    Returns:
        `EnergyDistance` of arrays [B].
    Raises:
        ValueError: shapes do not fit, an array is empty or holds no class maps, a label or class is out of range, or
            weights are negative or do not sum to 1.

    Source: Kohl et al. 2018, eq. 5.

    Example: two of four graders see a lesion, and one of two samples shows it.
        >>> import numpy as np
        >>> lesion, nothing = [[0, 1], [0, 1]], [[0, 0], [0, 0]]
        >>> graders = np.array([[lesion, lesion, nothing, nothing]])
        >>> energy_distance(np.array([[lesion, nothing]]), graders, num_classes=2).energy_distance
        array([0.])
        >>> energy_distance(np.array([[lesion]]), graders, num_classes=2).energy_distance
        array([0.5])
    """
    return energy_distance_from_distances(
        *joint_distances(samples, graders, num_classes, classes, ignore_label),
        sample_weights=sample_weights,
        grader_weights=grader_weights,
    )


def energy_distance_from_distances(
    sample_grader,
    sample_sample,
    grader_grader,
    num_samples: int | None = None,
    sample_weights=None,
    grader_weights=None,
) -> EnergyDistance:
    """Energy distance from distances at hand, for any number of samples up to the number drawn.

    With `num_samples` n < M the result is the mean over all subsets of n of the M samples, in closed form: a subset
    has n (n - 1) of n^2 ordered pairs off the diagonal, each as likely as any other, so

        2 mean d(S, Y) - (n - 1) / n * mean_{i != j} d(S_i, S_j) - E d(Y, Y').

    It has the expectation of the value for the first n samples, and less variance. Distances of 16 samples thus serve
    the figures for n = 1, 4, 8 and 16.

    Args:
        sample_grader: [B, M, R] distances d(S, Y).
        sample_sample: [B, M, M] distances d(S, S'), 0 on the diagonal.
        grader_grader: [B, R, R] distances d(Y, Y'), 0 on the diagonal.
        num_samples: n of 1 to M; None stands for M.
        sample_weights: probability of each sample, [M] or [B, M], summing to 1; not together with n < M.
        grader_weights: probability of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        `EnergyDistance` of arrays [B].
    Raises:
        ValueError: shapes, num_samples or weights do not fit, or the arrays are no distances.

    Example:
        >>> sample_grader, sample_sample, grader_grader = [[[0.0], [1.0]]], [[[0.0, 1.0], [1.0, 0.0]]], [[[0.0]]]
        >>> energy_distance_from_distances(sample_grader, sample_sample, grader_grader).energy_distance
        array([0.5])
        >>> energy_distance_from_distances(sample_grader, sample_sample, grader_grader, num_samples=1).energy_distance
        array([1.])
    """
    sample_grader, sample_sample, grader_grader = _check_distances(sample_grader, sample_sample, grader_grader)
    batch, drawn, graders = sample_grader.shape
    num_samples = drawn if num_samples is None else num_samples
    if not isinstance(num_samples, (int, np.integer)) or not 1 <= num_samples <= drawn:
        raise ValueError(
            f"num_samples must be an integer of 1 to {drawn}, the number of samples drawn. Received: {num_samples!r}. "
            "Draw more samples or ask for fewer."
        )
    if num_samples < drawn and sample_weights is not None:
        raise ValueError(
            f"sample_weights belong to all {drawn} samples. Received: sample_weights together with num_samples "
            f"{num_samples}. Expected one of the two. Leave num_samples out, or draw samples of equal weight."
        )
    sample_weights = check_weights(sample_weights, "sample_weights", batch, drawn)
    grader_weights = check_weights(grader_weights, "grader_weights", batch, graders)

    cross = np.einsum("bm,bmr,br->b", sample_weights, sample_grader, grader_weights)
    if num_samples == drawn:
        sample_diversity = np.einsum("bm,bmn,bn->b", sample_weights, sample_sample, sample_weights)
    else:
        off_diagonal = sample_sample.sum(axis=(1, 2)) / (drawn * (drawn - 1))
        sample_diversity = (num_samples - 1) / num_samples * off_diagonal
    grader_diversity = np.einsum("br,brs,bs->b", grader_weights, grader_grader, grader_weights)
    return EnergyDistance(  # Kohl et al. 2018, eq. 5
        energy_distance=2.0 * cross - sample_diversity - grader_diversity,
        cross=cross,
        sample_diversity=sample_diversity,
        grader_diversity=grader_diversity,
    )


def floor(grader_diversity, num_samples):
    """Expected energy distance of a perfect sampler, which draws from the graders' own distribution: E d(Y, Y') / n.

    For such a sampler E d(S, Y) = E d(Y, Y'), and of the n^2 ordered pairs of samples the n on the diagonal are 0:
    2 E d(Y, Y') - (n - 1) / n * E d(Y, Y') - E d(Y, Y') = E d(Y, Y') / n.

    Args:
        grader_diversity: E d(Y, Y'), any shape, from `EnergyDistance.grader_diversity`.
        num_samples: n, at least 1; a number, or an array that broadcasts with `grader_diversity`.
    Returns:
        float64 of the broadcast shape.

    Example:
        >>> floor(0.5, [1, 4, 8, 16]).tolist()
        [0.5, 0.125, 0.0625, 0.03125]
    """
    num_samples = np.asarray(num_samples)
    if num_samples.size == 0 or num_samples.min() < 1:
        raise ValueError(
            f"num_samples must be at least 1. Received: {num_samples}. Give the number of samples drawn an image."
        )
    return np.asarray(grader_diversity, np.float64) / num_samples


def _check_distances(sample_grader, sample_sample, grader_grader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrays = tuple(np.asarray(array, np.float64) for array in (sample_grader, sample_sample, grader_grader))
    shapes = tuple(array.shape for array in arrays)
    batch, drawn, graders = shapes[0] if len(shapes[0]) == 3 else (0, 0, 0)
    if shapes[1:] != ((batch, drawn, drawn), (batch, graders, graders)) or 0 in shapes[0]:
        raise ValueError(
            "Distances must be sample_grader [B, M, R], sample_sample [B, M, M] and grader_grader [B, R, R], none of "
            f"B, M, R being 0. Received: {shapes[0]}, {shapes[1]} and {shapes[2]}. `pairwise_distance` makes them."
        )
    for name, array in zip(("sample_grader", "sample_sample", "grader_grader"), arrays, strict=True):
        if not (np.isfinite(array).all() and array.min() >= 0):
            raise ValueError(
                f"{name} must hold finite distances of at least 0. Received: {np.count_nonzero(~(array >= 0))} "
                f"negative or NaN, {np.count_nonzero(np.isinf(array))} infinite. Make them with `pairwise_distance`."
            )
    for name, array in zip(("sample_sample", "grader_grader"), arrays[1:], strict=True):
        diagonal = np.abs(np.diagonal(array, axis1=1, axis2=2)).max()
        if diagonal > 1e-6:
            raise ValueError(
                f"{name} must be 0 on its diagonal, the distance of a segmentation to itself. Received: {diagonal:g}. "
                "If these are IoUs, give 1 - IoU."
            )
    return arrays
