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
    addends = np.stack([values, np.ones_like(values)], axis=1)
    # Groups differ in size, so the number of images differs from resample to resample.
    return bootstrap_interval_of_sums(addends, _mean, groups, level, num_resamples, seed)


def _mean(sums):
    return sums[:, 0] / sums[:, 1]


def bootstrap_interval_of_sums(
    addends,
    statistic,
    groups=None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a figure that is computed from sums over images, as a calibration error is.

    Args:
        addends: [B, D] what each image adds to each of D sums.
        statistic: takes sums [n, D] and returns the figure for each, [n]; NaN where it is not defined, and those
            resamples are left out.
        groups, level, num_resamples, seed: as of `bootstrap_interval`, which is this for a mean.
    Returns:
        (low, high); NaN if the figure is defined for no resample.
    Raises:
        ValueError: as of `bootstrap_interval`.

    Example: the interval of a ratio of sums.
        >>> hits, trials = [1, 3, 2, 4, 3, 5], [4, 5, 6, 8, 5, 8]
        >>> low, high = bootstrap_interval_of_sums(list(zip(hits, trials)), lambda sums: sums[:, 0] / sums[:, 1])
        >>> print(f"{low:.2f} to {high:.2f}")
        0.39 to 0.59
    """
    addends = np.asarray(addends, np.float64)
    if addends.ndim != 2 or addends.size == 0 or not np.isfinite(addends).all():
        raise ValueError(
            f"addends must be [B, D] finite numbers, none of them 0 in number. Received: shape {addends.shape}, "
            f"{np.count_nonzero(~np.isfinite(addends))} not finite. Leave out images without a figure."
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1. Received: {level}. For an interval of 95 % give 0.95.")
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1. Received: {num_resamples}. 2000 is a good number.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        # numpy would take None for "a different result each time".
        raise ValueError(f"seed must be an integer of at least 0. Received: {seed!r}. Give 0.")
    totals = _group_totals(addends, groups)
    num_groups = len(totals)

    generator = np.random.default_rng(seed)
    figures = np.empty(num_resamples)
    step = max(1, BLOCK // num_groups)
    for start in range(0, num_resamples, step):
        block = figures[start : start + step]
        drawn = generator.integers(num_groups, size=(len(block), num_groups))
        # How often each group was drawn, [n, G]: a matrix product then gives the sums of all resamples.
        times = np.bincount(
            (drawn + num_groups * np.arange(len(block))[:, None]).ravel(), minlength=drawn.size
        ).reshape(drawn.shape)
        block[:] = statistic(times.astype(np.float64) @ totals)
    figures = figures[np.isfinite(figures)]
    if not len(figures):
        return float("nan"), float("nan")
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _group_totals(addends: np.ndarray, groups) -> np.ndarray:
    """Sums [G, D] over the images of each group."""
    if groups is None:
        totals = addends
    else:
        groups = np.asarray(groups)
        if groups.shape != addends.shape[:1]:
            raise ValueError(
                f"groups must name one group for each of the {len(addends)} values. Received: shape {groups.shape}. "
                "Give the `group` of each image, in the order of the values."
            )
        _, members = np.unique(groups, return_inverse=True)
        totals = np.zeros((members.max() + 1, addends.shape[1]))
        np.add.at(totals, members, addends)
    if len(totals) < 2:
        raise ValueError(
            "An interval needs at least 2 groups. Received: 1, of which nothing can be learnt about the spread between "
            "groups. Evaluate images of more patients, or report the mean without an interval."
        )
    return totals
