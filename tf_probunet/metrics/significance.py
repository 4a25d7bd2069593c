"""Is the difference of two models more than chance? Wilcoxon's signed-rank test on the same images, and Holm's step.

Neighbouring slices of one patient are alike, so images are no independent pairs and their p-value is too small, as an
interval over them is too narrow. `compare_paired` gives the test over images, as is usual, and beside it the test over
the means of patients: believe the second.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, wilcoxon

SMALLEST_DIFFERENCE = 1e-12  # Figures that differ by less differ by rounding, and are equal.
NUM_EXACT = 50  # up to so many pairs the distribution of the statistic is counted out, then it is nearly normal


class PairedComparison(NamedTuple):
    """One model against a reference on the same images.

    Attributes:
        num_pairs: images with a figure for both.
        mean_difference: of values - reference.
        p_value: two-sided, of the test over images.
        effect_size: matched-pairs rank-biserial correlation, -1 to 1: the share of rank sum by which `values` are
            larger, minus that by which they are smaller.
        num_groups: groups of images (patients); None without groups, as the following.
        group_p_value: of the test over the groups' means.
        group_effect_size: of the same.
    """

    num_pairs: int
    mean_difference: float
    p_value: float
    effect_size: float
    num_groups: int | None = None
    group_p_value: float | None = None
    group_effect_size: float | None = None


def compare_paired(values, reference, groups=None) -> PairedComparison:
    """Wilcoxon signed-rank test of paired figures, two-sided, with effect size.

    Args:
        values: [B] figures of a model, for instance energy distances.
        reference: [B] those of another on the same images, in the same order.
        groups: [B] patient or city of each image, or None.
    Returns:
        `PairedComparison`. Pairs in which either is NaN are left out. If no pair differs, p is 1 and the effect 0.
        Pairs without a difference are ranked, and then dropped, as Pratt has it; ignoring them would make the
        remaining ones look like more than they are.
    Raises:
        ValueError: shapes do not fit, or no pair is complete.

    Source: Wilcoxon 1945; Pratt 1959 (zeros); Kerby 2014 (effect size, the simple difference formula).

    Example:
        >>> worse, better = [0.5, 0.6, 0.4, 0.8, 0.7, 0.3], [0.4, 0.4, 0.25, 0.5, 0.3, 0.35]
        >>> result = compare_paired(worse, better)
        >>> print(f"p {result.p_value:.4f}, effect {result.effect_size:.2f}, mean {result.mean_difference:.3f}")
        p 0.0625, effect 0.90, mean 0.183
        >>> compare_paired(worse, worse).p_value
        1.0
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if values.ndim != 1 or values.shape != reference.shape:
        raise ValueError(
            f"values and reference must both be [B], of the same images. Received: {values.shape} and "
            f"{reference.shape}. Evaluate both models on the same split and limit."
        )
    differences = values - reference
    kept = np.isfinite(differences)
    if not kept.any():
        raise ValueError(
            f"No pair has a finite figure on both sides. Received: {len(values)} pairs. Compare figures that both "
            "models have."
        )
    differences = differences[kept]
    p_value, effect_size = _signed_rank(differences)
    result = PairedComparison(len(differences), float(differences.mean()), p_value, effect_size)
    if groups is None:
        return result
    groups = np.asarray(groups)
    if groups.shape != values.shape:
        raise ValueError(
            f"groups must name one group for each of the {len(values)} pairs. Received: shape {groups.shape}."
        )
    _, members = np.unique(groups[kept], return_inverse=True)
    means = np.bincount(members, differences) / np.bincount(members)
    group_p_value, group_effect_size = _signed_rank(means)
    return result._replace(num_groups=len(means), group_p_value=group_p_value, group_effect_size=group_effect_size)


def _signed_rank(differences: np.ndarray) -> tuple[float, float]:
    """p-value and effect size of differences [n]."""
    sizes = np.where(np.abs(differences) < SMALLEST_DIFFERENCE, 0.0, np.abs(differences))
    # Rounding makes equal differences unequal, and ranks follow: 0.3 - 0.2 is not 0.2 - 0.1.
    sizes = np.round(sizes / SMALLEST_DIFFERENCE) * SMALLEST_DIFFERENCE
    differences = np.sign(differences) * sizes
    ranks = rankdata(sizes)
    positive, negative = ranks[differences > 0].sum(), ranks[differences < 0].sum()
    if positive + negative == 0:
        return 1.0, 0.0
    if len(sizes) <= NUM_EXACT:
        p_value = _exact_p_value(ranks[differences != 0], positive)
    else:
        p_value = wilcoxon(differences, zero_method="pratt", alternative="two-sided", method="asymptotic").pvalue
    return float(p_value), float((positive - negative) / (positive + negative))


def _exact_p_value(ranks: np.ndarray, positive: float) -> float:
    """Share of all 2^n choices of signs whose sum of positive ranks is as far from the middle as the one seen.

    scipy counts them out only without ties and zeros, and approximates badly where there are few pairs and many ties.
    """
    doubled = np.rint(2 * ranks).astype(int)  # ranks of ties are halves
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()  # each sum so far, with this rank or without
    far = np.abs(2 * np.arange(len(ways)) - doubled.sum()) >= abs(4 * positive - doubled.sum()) - 1e-6
    return ways[far].sum() / ways.sum()


def holm(p_values) -> np.ndarray:
    """Holm's adjustment for several comparisons: adjusted p-values keep the chance of any false claim at alpha.

    The smallest of m p-values is multiplied by m, the next by m - 1, and so on; none may fall below one before it.

    Args:
        p_values: [m] in [0, 1].
    Returns:
        [m] float64, in the order given.
    Raises:
        ValueError: not of one axis, or out of range.

    Source: Holm 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values must be [m] numbers in [0, 1]. Received: {p_values}. Leave out missing ones.")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate((len(p_values) - np.arange(len(p_values))) * p_values[order])
    result = np.empty_like(p_values)
    result[order] = np.minimum(adjusted, 1.0)
    return result
