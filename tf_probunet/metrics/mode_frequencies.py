"""How often the samples show each ground-truth mode, where the modes and their probabilities are known (label flips).

On the level of images every sample counts for its nearest mode. On the level of pixels the pixels that the truth gives
to a class that flips are counted: how many does a sample give to the class, how many to its twin?

A class that an image lacks makes modes that are the same segmentation, so the nearest is no single one: ties. Under
the published rule, the first mode of least distance, the class then counts as unflipped, whatever the model does; if
ties are split evenly it counts as flipped in half of the cases. Neither is what the flip's probability says, and a
perfect sampler would not meet the nominal probabilities either. So the same rule is applied to the ground truth, each
mode weighing its probability: `mode_counts` of the modes themselves. A perfect sampler meets *that* on average, over
any mixture of images and under either rule. A sample that does not show a class which is there is as near to its twin,
a tie as well: of what a model does not find, the first rule says that it never flips, the other that it half does.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from tf_probunet.metrics.checks import check_same_images, check_weights

TIES = ("first", "split")
TOLERANCE = 1e-9  # Distances that differ by rounding alone are equal.


class ModeAgreement(NamedTuple):
    """How far mode frequencies are from the truth.

    Attributes:
        total_variation: half the sum of absolute differences, 0 (equal) to 1.
        log_correlation: Pearson's correlation of log frequencies with log probabilities.
        num_hit: modes that were sampled at all; where ties are split, a mode also counts that is only one of several
            at equal distance.
        num_modes: modes of positive probability.
        expected_total_variation: what a perfect sampler's total variation would be on average with as many samples.
    """

    total_variation: float
    log_correlation: float
    num_hit: int
    num_modes: int
    expected_total_variation: float


def mode_counts(distances, num_modes: int | None = None, ties: str = "first", sample_weights=None) -> np.ndarray:
    """How many samples of each image count for each mode: those to which it is nearest.

    With the distances between the modes themselves and their probabilities as `sample_weights`, it is what a perfect
    sampler gets on average under the same rule.

    Args:
        distances: [B, M, R] distances between samples and modes, as `pairwise_distance` gives them over the classes
            that flip.
        num_modes: if R is a multiple of it, the modes of several graders stand one grader after the other, and a mode
            counts whoever's it is. None stands for R.
        ties: "first" counts a sample for the first of its nearest modes, "split" evenly for all of them.
        sample_weights: what each sample counts, [M] or [B, M], summing to 1; None: each counts 1.
    Returns:
        [B, num_modes] float64, rows of sum M, or 1 with weights.
    Raises:
        ValueError: shapes do not fit, or another `ties`.

    Source: Kohl et al. 2018, section 4.2; the rule for ties is that of the author's code, `np.argmin` over modes
    (`get_mode_counts` of evaluation/eval_cityscapes.py).

    Example: the first sample is as far from mode 0 as from mode 1.
        >>> mode_counts([[[0.5, 0.5, 1.0], [1.0, 1.0, 0.0]]]).tolist()
        [[1.0, 0.0, 1.0]]
        >>> mode_counts([[[0.5, 0.5, 1.0], [1.0, 1.0, 0.0]]], ties="split").tolist()
        [[0.5, 0.5, 1.0]]
    """
    distances = np.asarray(distances, np.float64)
    num_modes = distances.shape[-1] if num_modes is None else num_modes
    if distances.ndim != 3 or 0 in distances.shape or distances.shape[2] % num_modes:
        raise ValueError(
            "distances must be [B, M, R], none of them 0, R a multiple of num_modes. Received: shape "
            f"{distances.shape}, num_modes {num_modes}. `pairwise_distance(samples, modes, ...)` makes them."
        )
    nearest = distances <= distances.min(axis=2, keepdims=True) + TOLERANCE  # shape: [B, M, R]
    shares = _settle(nearest, ties)
    batch, num_samples, _ = shares.shape
    if sample_weights is None:
        counts = shares.sum(axis=1)
    else:
        counts = np.einsum("bm,bmr->br", check_weights(sample_weights, "sample_weights", batch, num_samples), shares)
    return counts.reshape(batch, -1, num_modes).sum(axis=1)


def _settle(nearest: np.ndarray, ties: str) -> np.ndarray:
    """Turns which modes [..., R] are nearest into the share of each, [..., R] of sum 1."""
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}. Received: {ties!r}.")
    if ties == "first":
        return (np.arange(nearest.shape[-1]) == nearest.argmax(axis=-1)[..., None]).astype(np.float64)
    return nearest / nearest.sum(axis=-1, keepdims=True)


def flip_pixels(samples, truth, sources, targets, truth_weights=None) -> np.ndarray:
    """Pixels of each class that flips, and what the samples make of them.

    Args:
        samples: [B, M, H, W] integer class maps.
        truth: [B, R, H, W] unflipped class maps of the graders.
        sources, targets: [F] the classes that flip, and their twins.
        truth_weights: weight of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        [B, F, 3] float64, which add up over images: pixels that the truth gives to the source, times M; of those,
        how many the samples give to the source, and how many to its twin. The flip rate by pixels is the last over
        the sum of the last two.

    Source: Kohl et al. 2018, section 4.2 and the author's code (`get_pixelwise_mode_counts`).

    Example: three pixels of class 0, whose twin is 2; the sample gives two of them to the twin and misses one.
        >>> import numpy as np
        >>> flip_pixels(np.array([[[[2, 2, 1, 1]]]]), np.array([[[[0, 0, 0, 1]]]]), [0], [2]).tolist()
        [[[3.0, 0.0, 2.0]]]
    """
    counts = count_pixels(samples, truth, sources, targets)  # shape: [B, M, R, F, 3]
    weights = check_weights(truth_weights, "truth_weights", len(counts), counts.shape[2])
    return np.einsum("br,bmrfc->bfc", weights, counts)


def pixel_mode_counts(
    samples, truth, sources, targets, ties: str = "first", sample_weights=None, truth_weights=None
) -> np.ndarray:
    """Samples of each image that count for each mode by a vote of pixels: a flip has happened if most of the pixels
    that the truth gives to the class or its twin are the twin's.

    Unlike the nearest mode it does not depend on pixels elsewhere, nor on how well the class is met.

    Args:
        samples, truth, sources, targets, truth_weights: as of `flip_pixels`.
        ties: "first" counts a class without any such pixel, or with as many of either, as unflipped; "split" evenly
            for both.
        sample_weights: what each sample counts, [M] or [B, M], summing to 1; None: each counts 1.
    Returns:
        [B, 2^F] float64, rows of sum M, or 1 with weights, in the order of `tf_probunet.data.flips.mode_flips`.

    Example: class 0 turned into its twin 2; class 1, whose twin is 3, is absent.
        >>> import numpy as np
        >>> pixel_mode_counts(np.array([[[[2, 2, 0]]]]), np.array([[[[0, 0, 0]]]]), [0, 1], [2, 3]).tolist()
        [[0.0, 1.0, 0.0, 0.0]]
    """
    counts = count_pixels(samples, truth, sources, targets)
    kept, flipped = counts[..., 1], counts[..., 2]  # shape: [B, M, R, F]
    votes = _settle(np.stack([kept >= flipped, flipped >= kept], axis=-1), ties)  # shape: [B, M, R, F, 2]
    shares = np.ones((*votes.shape[:3], 1))
    for flip in range(len(sources)):  # the bit of flip f is worth 2^f, so later flips vary slower
        shares = (votes[..., flip, :, None] * shares[..., None, :]).reshape(*votes.shape[:3], -1)
    batch, num_samples, num_graders, _ = shares.shape
    shares = np.einsum("br,bmrk->bmk", check_weights(truth_weights, "truth_weights", batch, num_graders), shares)
    if sample_weights is None:
        return shares.sum(axis=1)
    return np.einsum("bm,bmk->bk", check_weights(sample_weights, "sample_weights", batch, num_samples), shares)


def count_pixels(samples, truth, sources, targets) -> np.ndarray:
    """Pixels of each class that flips by sample and grader, before anything is summed.

    Args:
        samples, truth, sources, targets: as of `flip_pixels`.
    Returns:
        [B, M, R, F, 3] float64: pixels that the truth gives to the source; of those, how many the sample gives to the
        source, and how many to its twin.
    """
    samples, truth = np.asarray(samples), np.asarray(truth)
    check_same_images(samples, truth)
    if len(sources) != len(targets):
        raise ValueError(f"Each source needs one target. Received: {len(sources)} and {len(targets)}.")
    samples, truth = (maps.reshape(*maps.shape[:2], -1) for maps in (samples, truth))  # shape: [B, M or R, P]
    counts = np.empty((len(samples), samples.shape[1], truth.shape[1], len(sources), 3))
    for flip, (source, target) in enumerate(zip(sources, targets, strict=True)):
        there = (truth == source).astype(np.float32).swapaxes(1, 2)  # shape: [B, P, R]
        counts[..., flip, 0] = there.sum(axis=1)[:, None]
        for column, label in ((1, source), (2, target)):
            counts[..., flip, column] = (samples == label).astype(np.float32) @ there  # shape: [B, M, R]
    return counts


def mode_agreement(counts, truth) -> ModeAgreement:
    """Compares mode frequencies with the truth.

    Args:
        counts: [..., modes], summed over all axes but the last: for instance `mode_counts` of many images.
        truth: [modes] probabilities, or [..., modes] of sum 1 each, of which the mean is taken. Take nominal
            probabilities to compare as published, `mode_counts` of the modes themselves for what the rule of ties
            leaves of them.
    Returns:
        `ModeAgreement`. Modes of probability 0 are left out of the correlation. A mode that was never sampled would
        have log 0; it counts as half a sample, and so do all others half a sample more (Haldane's and Anscombe's
        correction), so that the correlation is defined and a missed mode lowers it. NaN if either side is constant.
    Raises:
        ValueError: shapes do not fit, or nothing was counted.

    Source: Kohl et al. 2018, figure 5, draws the frequencies on a logarithmic scale.

    Example:
        >>> mode_agreement([75, 25], [0.5, 0.5]).total_variation
        0.25
        >>> result = mode_agreement([70, 20, 10, 0], [0.6, 0.25, 0.1, 0.05])
        >>> print(f"{result.num_hit} of {result.num_modes}, correlation {result.log_correlation:.2f}")
        3 of 4, correlation 0.93
    """
    counts, truth = np.asarray(counts, np.float64), np.asarray(truth, np.float64)
    if counts.shape[-1:] != truth.shape[-1:] or counts.size == 0 or not counts.sum() > 0:
        raise ValueError(
            "counts and truth must end in the same number of modes, and something must be counted. Received: shapes "
            f"{counts.shape} and {truth.shape}, sum of counts {counts.sum():g}. Count with `mode_counts`."
        )
    counts = counts.reshape(-1, counts.shape[-1]).sum(axis=0)
    truth = truth.reshape(-1, truth.shape[-1]).mean(axis=0)
    possible = truth > 0
    logarithms = np.log(counts[possible] + 0.5), np.log(truth[possible])
    varied = all(np.ptp(values) > TOLERANCE for values in logarithms)
    return ModeAgreement(
        total_variation=float(total_variation(counts / counts.sum(), truth)),
        log_correlation=float(np.corrcoef(*logarithms)[0, 1]) if varied else float("nan"),
        # Splitting ties leaves fractions: a mode is hit if the samples' shares amount to at least one.
        num_hit=int((counts[possible] > 1 - TOLERANCE).sum()),
        num_modes=int(possible.sum()),
        expected_total_variation=expected_total_variation(truth, int(round(counts.sum()))),
    )


def without_flip(frequencies, flip: int) -> np.ndarray:
    """Frequencies of the modes of all flips but one: modes that differ in that one alone are added up.

    What is left of a distance to the truth is not that flip's doing.

    Args:
        frequencies: [..., 2^F], mode m having flip f where bit f of m is set.
        flip: f, from 0.
    Returns:
        [..., 2^(F - 1)] float64, the other flips in their order.

    Example: two flips; the second happens in half of the cases whatever the first does.
        >>> without_flip([0.4, 0.1, 0.4, 0.1], 0).tolist(), without_flip([0.4, 0.1, 0.4, 0.1], 1).tolist()
        ([0.5, 0.5], [0.8, 0.2])
    """
    frequencies = np.asarray(frequencies, np.float64)
    return frequencies.reshape(*frequencies.shape[:-1], -1, 2, 2**flip).sum(axis=-2).reshape(
        *frequencies.shape[:-1], frequencies.shape[-1] // 2)


def total_variation(frequencies, truth):
    """Half the sum of absolute differences of two distributions, [..., modes] each, over their last axis.

    Example:
        >>> float(total_variation([1.0, 0.0], [0.25, 0.75]))
        0.75
    """
    return np.abs(np.asarray(frequencies, np.float64) - np.asarray(truth, np.float64)).sum(axis=-1) / 2


def expected_total_variation(truth, num_samples: int) -> float:
    """Total variation that a perfect sampler has on average, because its samples are finite in number.

    The count of a mode of probability p is binomial, whose mean absolute deviation is
    2 (k + 1) C(n, k + 1) p^(k + 1) (1 - p)^(n - k) with k = floor(n p) (de Moivre); half the sum over modes, over n.

    Example: two fair coins show two heads, or two tails, half of the time, and are then half off.
        >>> expected_total_variation([0.5, 0.5], num_samples=2)
        0.25
    """
    truth = np.asarray(truth, np.float64)
    above = np.floor(num_samples * truth) + 1
    deviation = 2 * above * (1 - truth) * binom.pmf(above, num_samples, truth)
    return float(deviation.sum() / 2 / num_samples)
