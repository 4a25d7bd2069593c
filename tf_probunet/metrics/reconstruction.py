"""How well the latent space can say what a grader drew: IoU of each segmentation with its own reconstruction."""

import numpy as np

from tf_probunet.metrics.checks import check_same_images, check_segmentations, check_weights
from tf_probunet.metrics.iou import pairwise_iou


def reconstruction_iou(
    reconstructions,
    graders,
    num_classes: int,
    classes=None,
    ignore_label: int | None = 255,
    grader_weights=None,
) -> np.ndarray:
    """Mean over graders of IoU(reconstruction of y, y).

    Args:
        reconstructions: [B, R, H, W] integer class maps, number r made from grader r: for a Probabilistic U-Net the
            argmax of `model.reconstruct(images, graders[:, r])`, which decodes the mean of the posterior.
        graders: [B, R, H, W] integer class maps.
        num_classes, classes, ignore_label: as of `pairwise_iou`.
        grader_weights: probability of each grader, [R] or [B, R], summing to 1; None: all alike.
    Returns:
        [B] float64 in [0, 1].
    Raises:
        ValueError: shapes do not fit, or as of `pairwise_iou`.

    Source: Kohl et al. 2019 (A Hierarchical Probabilistic U-Net), performance measures.

    Example: one of two is met, of the other a half.
        >>> import numpy as np
        >>> graders = np.array([[[[1, 0]], [[1, 1]]]])
        >>> reconstruction_iou(np.array([[[[1, 0]], [[1, 0]]]]), graders, num_classes=2)
        array([0.75])
    """
    reconstructions = check_segmentations(reconstructions, "reconstructions", num_classes, ignore_label)
    graders = check_segmentations(graders, "graders", num_classes, ignore_label)
    check_same_images(reconstructions, graders)
    batch, num_graders, height, width = graders.shape
    if reconstructions.shape != graders.shape:
        raise ValueError(
            "reconstructions must have one for each grader, [B, R, H, W]. Received: "
            f"{reconstructions.shape} for graders {graders.shape}. Reconstruct every grader's segmentation."
        )
    weights = check_weights(grader_weights, "grader_weights", batch, num_graders)
    pairs = (batch * num_graders, 1, height, width)
    iou = pairwise_iou(reconstructions.reshape(pairs), graders.reshape(pairs), num_classes, classes, ignore_label)
    return (iou.reshape(batch, num_graders) * weights).sum(axis=1)
