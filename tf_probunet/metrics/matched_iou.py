"""Hungarian-matched IoU: samples and graders paired one to one as well as can be, and the mean IoU of the pairs.

The energy distance compares a sample with every grader. This asks whether each grader has a sample of its own, in the
right number: it is 1 only if the samples are the graders' segmentations, each as often as it is probable.
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_array, eye_array, kron, vstack

from tf_probunet.metrics.energy_distance import check_weights
from tf_probunet.metrics.iou import check_segmentations, ignore_unlabelled, pairwise_iou


def matched_iou(
    samples,
    graders,
    num_classes: int,
    classes=None,
    ignore_label: int | None = 255,
    grader_weights=None,
) -> np.ndarray:
    """Mean IoU of samples and graders under the assignment that makes it largest.

    Both are repeated to their least common multiple, so that every sample has the same part in the match and so has
    every grader. Two segmentations without any of `classes` have an IoU of 1.

    Args:
        samples: [B, M, H, W] integer class maps.
        graders: [B, R, H, W] integer class maps.
        num_classes, classes, ignore_label: as of `pairwise_iou`.
        grader_weights: probability of each grader (or ground-truth mode), [R] or [B, R]; see
            `matched_iou_from_iou`.
    Returns:
        [B] float64 in [0, 1].
    Raises:
        ValueError: as of `energy_distance`.

    Source: Kohl et al. 2019 (A Hierarchical Probabilistic U-Net), performance measures; Kuhn 1955 (assignment).

    Example: of two samples one fits the graders who drew something, the other those who did not.
        >>> import numpy as np
        >>> lesion, nothing = [[0, 1], [0, 1]], [[0, 0], [0, 0]]
        >>> graders = np.array([[lesion, lesion, nothing, nothing]])
        >>> matched_iou(np.array([[lesion, nothing]]), graders, num_classes=2)
        array([1.])
        >>> matched_iou(np.array([[lesion]]), graders, num_classes=2)
        array([0.5])
    """
    samples = check_segmentations(samples, "samples", num_classes, ignore_label)
    graders = check_segmentations(graders, "graders", num_classes, ignore_label)
    samples = ignore_unlabelled(samples, graders, ignore_label)
    return matched_iou_from_iou(
        pairwise_iou(samples, graders, num_classes, classes, ignore_label), grader_weights=grader_weights
    )


def matched_iou_from_iou(iou, num_samples: int | None = None, grader_weights=None) -> np.ndarray:
    """Matched IoU from pairwise IoUs at hand, for any number of samples up to the number drawn.

    With `num_samples` n < M the drawn samples are cut, in their order, into groups of n (a rest that fills no group
    is left out), and the result is the mean over the groups: the expectation is that of the first n, with less noise.

    Graders of weight 0 are left out. If the others weigh alike, samples and graders are repeated to a common multiple
    and assigned one to one. If not, as modes of known probability do, no repetition gives the weights; the problem is
    then solved as the transport problem that the assignment is a case of, exactly, as a linear program.

    Args:
        iou: [B, M, R], as `pairwise_iou` gives it.
        num_samples: n of 1 to M; None stands for M.
        grader_weights: probability of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        [B] float64.
    Raises:
        ValueError: shapes do not fit, IoUs are not in [0, 1], or num_samples or weights are out of range.

    Example:
        >>> matched_iou_from_iou([[[1.0, 0.25], [0.75, 0.5]]]).tolist()  # 1 and 0.5, not 0.25 and 0.75
        [0.75]
        >>> matched_iou_from_iou([[[1.0, 0.0], [0.0, 1.0]]], grader_weights=[0.75, 0.25]).tolist()
        [0.75]
        >>> matched_iou_from_iou([[[1.0, 0.0], [0.0, 1.0]]], num_samples=1).tolist()
        [0.5]
    """
    iou = np.asarray(iou, np.float64)
    if iou.ndim != 3 or 0 in iou.shape or not ((iou >= 0) & (iou <= 1)).all():
        raise ValueError(
            f"iou must be [B, M, R] numbers in [0, 1], none of B, M, R being 0. Received: shape {iou.shape}, "
            f"{np.count_nonzero(~((iou >= 0) & (iou <= 1)))} out of range. `pairwise_iou` makes them."
        )
    batch, drawn, num_graders = iou.shape
    num_samples = drawn if num_samples is None else num_samples
    if not isinstance(num_samples, (int, np.integer)) or not 1 <= num_samples <= drawn:
        raise ValueError(
            f"num_samples must be an integer of 1 to {drawn}, the number of samples drawn. Received: {num_samples!r}. "
            "Draw more samples or ask for fewer."
        )
    weights = check_weights(grader_weights, "grader_weights", batch, num_graders)
    if num_samples == 1:  # one sample is matched with every grader, whichever sample it is
        return np.einsum("bmr,br->b", iou, weights) / drawn
    starts = range(0, drawn - num_samples + 1, num_samples)
    result = np.empty(batch)
    for index in range(batch):
        kept = weights[index] > 0
        columns, probabilities = iou[index][:, kept], weights[index][kept]
        # Weights that come from float32 sum to 1 but for rounding.
        alike = np.allclose(probabilities, 1 / len(probabilities), rtol=1e-5, atol=0)
        groups = (columns[start : start + num_samples] for start in starts)
        result[index] = np.mean([_assign(each) if alike else _transport(each, probabilities) for each in groups])
    return result


def _assign(iou: np.ndarray) -> float:
    """Mean IoU [n, R] of the best one-to-one assignment after repetition to the least common multiple."""
    common = math.lcm(*iou.shape)
    repeated = iou.repeat(common // iou.shape[0], axis=0).repeat(common // iou.shape[1], axis=1)
    return float(repeated[linear_sum_assignment(repeated, maximize=True)].mean())


def _transport(iou: np.ndarray, weights: np.ndarray) -> float:
    """Largest expected IoU [n, R] over all joint distributions of samples (1/n each) and graders (`weights`)."""
    num_samples, num_graders = iou.shape
    rows = kron(eye_array(num_samples), np.ones((1, num_graders)))  # what leaves each sample
    columns = kron(np.ones((1, num_samples)), eye_array(num_graders))  # what reaches each grader
    # One equation follows from the others, and rounding must not contradict it: the last is left out.
    constraints = csr_array(vstack([rows, columns]))[:-1]
    amounts = np.concatenate([np.full(num_samples, 1 / num_samples), weights / weights.sum()])[:-1]
    solution = linprog(-iou.ravel(), A_eq=constraints, b_eq=amounts, method="highs")
    if solution.status != 0:
        raise RuntimeError(f"The transport problem of matched IoU was not solved: {solution.message}")
    return float(np.clip(-solution.fun, 0.0, 1.0))
