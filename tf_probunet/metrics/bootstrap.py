"""How sure a mean over images is: a percentile bootstrap that resamples whole patients."""

import numpy as np

BLOCK = 2**20  # Indices drawn at a time (8 MiB).


def bootstrap_interval(
    values,
    groups=None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of the mean of `values`, by a percentile bootstrap over groups.

    Neighbouring slices of a patient are alike, so images are no independent draws and an interval that treats them so
    is too narrow. Patients are: each resample draws as many whole groups as there are, with replacement, and takes
    the mean over all of their images.

    Args:
        values: [B] one figure for each image.
        groups: [B] patient or city of each image, integers or strings; None makes every image its own group.
        level: coverage wanted, between 0 and 1.
        num_resamples: how many resamples to draw.
        seed: the same seed and values give the same interval.
    Returns:
        (low, high).
    Raises:
        ValueError: values are empty, not finite or not of one axis, groups do not fit them or are fewer than two, or
            level, num_resamples or seed is out of range.

    Source: Efron & Tibshirani 1993, chapter 13 (percentile interval); Davison & Hinkley 1997, section 3.8 (resampling
    of whole groups).

    Example: slices of a patient are alike, so four of them tell little more than one, and the interval is wider.
        >>> values, patients = [0.1] * 4 + [0.2] * 4 + [0.6] * 4, ["a"] * 4 + ["b"] * 4 + ["c"] * 4
        >>> low, high = bootstrap_interval(values, patients)
        >>> print(f"{low:.2f} to {high:.2f}")
        0.10 to 0.60
        >>> low, high = bootstrap_interval(values)
        >>> print(f"{low:.2f} to {high:.2f}")
        0.18 to 0.42
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be [B] finite numbers, B at least 1. Received: shape {values.shape}, "
            f"{np.count_nonzero(~np.isfinite(values))} not finite. Leave out images without a figure."
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1. Received: {level}. For an interval of 95 % give 0.95.")
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1. Received: {num_resamples}. 2000 is a good number.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        # numpy would take None for "a different result each time".
        raise ValueError(f"seed must be an integer of at least 0. Received: {seed!r}. Give 0.")
    sums, sizes = _group_totals(values, groups)
    num_groups = len(sums)

    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    step = max(1, BLOCK // num_groups)
    for start in range(0, num_resamples, step):
        block = means[start : start + step]
        drawn = generator.integers(num_groups, size=(len(block), num_groups))
        # Groups differ in size, so the number of images differs from resample to resample.
        block[:] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _group_totals(values: np.ndarray, groups) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of images of each group: two arrays [G]."""
    if groups is None:
        sums, sizes = values, np.ones_like(values)
    else:
        groups = np.asarray(groups)
        if groups.shape != values.shape:
            raise ValueError(
                f"groups must name one group for each of the {len(values)} values. Received: shape {groups.shape}. "
                "Give the `group` of each image, in the order of the values."
            )
        _, members = np.unique(groups, return_inverse=True)
        sums, sizes = np.bincount(members, weights=values), np.bincount(members).astype(np.float64)
    if len(sums) < 2:
        raise ValueError(
            "An interval needs at least 2 groups. Received: 1, of which nothing can be learnt about the spread between "
            "groups. Evaluate images of more patients, or report the mean without an interval."
        )
    return sums, sizes
