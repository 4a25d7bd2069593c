"""Hungarian-matched IoU: samples and graders paired one to one as well as can be, and the mean IoU of the pairs.

The energy distance compares a sample with every grader. This asks whether each grader has a sample of its own, in the
right number: it is 1 only if the samples are the graders' segmentations, each as often as it is probable.
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csr_array, eye_array, kron, vstack

from tf_probunet.metrics.checks import check_weights
from tf_probunet.metrics.iou import pairwise_iou

PROBLEMS = 16  # of transport, solved as one linear program


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
    groups = iou[:, : drawn // num_samples * num_samples].reshape(batch, -1, num_samples, num_graders)
    result = np.empty(batch)
    transported = []
    for index in range(batch):
        kept = weights[index] > 0
        probabilities = weights[index][kept]
        # Weights that come from float32 sum to 1 but for rounding.
        if np.allclose(probabilities, 1 / len(probabilities), rtol=1e-5, atol=0):
            result[index] = np.mean([_assign(group[:, kept]) for group in groups[index]])
        else:
            transported.append(index)
    # Several small problems are one larger program, which is set up once.
    step = max(1, PROBLEMS // groups.shape[1])
    for start in range(0, len(transported), step):
        images = transported[start : start + step]
        result[images] = _transport(groups[images], weights[images]).mean(axis=1)
    return result


def _assign(iou: np.ndarray) -> float:
    """Mean IoU [n, R] of the best one-to-one assignment after repetition to the least common multiple."""
    common = math.lcm(*iou.shape)
    repeated = iou.repeat(common // iou.shape[0], axis=0).repeat(common // iou.shape[1], axis=1)
    return float(repeated[linear_sum_assignment(repeated, maximize=True)].mean())


def _transport(iou: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest expected IoU over all joint distributions of samples, 1/n each, and graders, by their weights.

    Args: iou: [B, G, n, R]; weights: [B, R].
    Returns: [B, G].
    """
    batch, num_groups, num_samples, num_graders = iou.shape
    rows = kron(eye_array(num_samples), np.ones((1, num_graders)))  # what leaves each sample
    columns = kron(np.ones((1, num_samples)), eye_array(num_graders))  # what reaches each grader
    # One equation follows from the others, and rounding must not contradict it: the last of the samples' is left out.
    constraints = kron(eye_array(batch * num_groups), csr_array(vstack([csr_array(rows)[:-1], columns])))
    amounts = np.concatenate(
        [np.full((batch, num_samples - 1), 1 / num_samples), weights / weights.sum(axis=1, keepdims=True)], axis=1
    )
    solution = linprog(-iou.ravel(), A_eq=csr_array(constraints), b_eq=amounts.repeat(num_groups, axis=0).ravel(),
                       method="highs")
    if solution.status != 0:
        raise RuntimeError(f"The transport problem of matched IoU was not solved: {solution.message}")
    shares = solution.x.reshape(iou.shape)
    return np.clip((shares * iou).sum(axis=(2, 3)), 0.0, 1.0)
