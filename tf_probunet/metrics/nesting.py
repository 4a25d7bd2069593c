"""How often one sample lies inside another: what an affine combiner does to all of them, and graders seldom do."""

import numpy as np

from tf_probunet.metrics.checks import check_classes, check_segmentations
from tf_probunet.metrics.pair_counts import count_pairs


def nested_share(samples, num_classes: int, classes=None, ignore_label: int | None = 255) -> np.ndarray:
    """Share of pairs of different, filled samples of which one contains the other.

    Samples that differ only by a threshold are nested, all of them: the share is 1. Pairs are counted for each class
    under test by itself.

    Args:
        samples: [B, M, H, W] integer class maps.
        num_classes: K, background included.
        classes: under test; None stands for the foreground, 1 to K - 1.
        ignore_label: a pixel that either of a pair marks so is left out; None if no label means that.
    Returns:
        [B] float64; NaN for images that have no such pair.
    Raises:
        ValueError: the samples are no class maps [B, M, H, W], or a class is out of range.

    Example:
        >>> import numpy as np
        >>> large, small, other = [[1, 1, 0]], [[1, 0, 0]], [[0, 1, 1]]
        >>> nested_share(np.array([[large, small, other]]), num_classes=2).round(3)
        array([0.333])
    """
    samples = check_segmentations(samples, "samples", num_classes, ignore_label)
    classes = check_classes(classes, num_classes, ignore_label)
    batch, num_samples = samples.shape[:2]
    stack = samples.reshape(batch, num_samples, -1)
    intersection, union = count_pairs([stack], None, classes, ignore_label)
    sizes = np.diagonal(intersection, axis1=1, axis2=2).swapaxes(1, 2)  # [B, M, C]
    smaller = np.minimum(sizes[:, :, None], sizes[:, None])  # [B, M, M, C]
    compared = (smaller > 0) & (intersection < union)
    nested = compared & (intersection == smaller)
    count = compared.sum(axis=(1, 2, 3))
    return np.divide(nested.sum(axis=(1, 2, 3)), count, out=np.full(batch, np.nan), where=count > 0)
