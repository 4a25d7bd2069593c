"""Presence: whether anything is drawn at all. Graders often disagree on it, and samples should do so there too."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from tf_probunet.metrics.checks import check_classes, check_segmentations


class PresenceCapture(NamedTuple):
    """How the samples follow the graders' disagreement on presence; all numbers of images.

    Attributes:
        num_images: B.
        num_disagreed: graders disagree on presence.
        num_captured: of those, how many have both empty and non-empty samples.
        num_invented: of the others, on which graders agree, how many have both empty and non-empty samples.
    """

    num_images: int
    num_disagreed: int
    num_captured: int
    num_invented: int


def presence(
    segmentations,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Whether each segmentation holds a pixel of any of the classes.

    Args:
        segmentations: [B, R, H, W] integer class maps, of graders or of samples.
        num_classes: K, background included.
        classes: the classes under test; None stands for the foreground, 1 to K - 1.
        ignore_label: label of pixels that say nothing; a segmentation of such pixels alone is empty.
    Returns:
        [B, R] bool.
    Raises:
        ValueError: the array is empty or holds no class maps, or a label or class is out of range.

    Example:
        >>> import numpy as np
        >>> presence(np.array([[[[0, 1]], [[0, 0]], [[255, 0]]]]), num_classes=2)
        array([[ True, False, False]])
    """
    segmentations = check_segmentations(segmentations, "segmentations", num_classes, ignore_label)
    classes = check_classes(classes, num_classes, ignore_label)
    # Image by image, which bounds the memory taken.
    return np.stack([np.isin(labels, classes).any(axis=(1, 2)) for labels in segmentations])


def both_presences(
    samples,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Whether an image has both empty and non-empty samples.

    Args: samples: [B, M, H, W]; the others, and Raises, as of `presence`.
    Returns:
        [B] bool; False throughout when M = 1.

    Example:
        >>> import numpy as np
        >>> both_presences(np.array([[[[0, 1]], [[0, 0]]], [[[0, 1]], [[1, 1]]]]), num_classes=2)
        array([ True, False])
    """
    present = presence(samples, num_classes, classes, ignore_label)
    return present.any(axis=1) & ~present.all(axis=1)


def presence_disagreement(
    graders,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Whether some graders of an image drew something and some drew nothing.

    Args: graders: [B, R, H, W]; the others, and Raises, as of `presence`.
    Returns:
        [B] bool.

    Example:
        >>> import numpy as np
        >>> presence_disagreement(np.array([[[[0, 1]], [[0, 0]]], [[[0, 1]], [[1, 1]]]]), num_classes=2)
        array([ True, False])
    """
    return both_presences(graders, num_classes, classes, ignore_label)


def presence_capture(
    samples,
    graders,
    num_classes: int,
    classes: Sequence[int] | None = None,
    ignore_label: int | None = 255,
) -> PresenceCapture:
    """Counts the images on which graders disagree on presence, and those of them whose samples do so too.

    Args: samples: [B, M, H, W]; graders: [B, R, H, W]; the others as of `presence`.
    Returns:
        `PresenceCapture`.
    Raises:
        ValueError: as of `presence`, or samples and graders are of different numbers of images.

    Example: graders disagree on the first image alone, and samples show both there and nowhere else.
        >>> import numpy as np
        >>> graders = np.array([[[[0, 1]], [[0, 0]]], [[[0, 1]], [[1, 1]]]])
        >>> presence_capture(graders, graders, num_classes=2)
        PresenceCapture(num_images=2, num_disagreed=1, num_captured=1, num_invented=0)
    """
    disagreed = presence_disagreement(graders, num_classes, classes, ignore_label)
    both = both_presences(samples, num_classes, classes, ignore_label)
    if len(both) != len(disagreed):
        raise ValueError(
            "samples [B, M, H, W] and graders [B, R, H, W] must be of the same images. "
            f"Received: {len(both)} and {len(disagreed)} images. Bring both to the same B."
        )
    return PresenceCapture(
        num_images=len(both),
        num_disagreed=int(disagreed.sum()),
        num_captured=int((disagreed & both).sum()),
        num_invented=int((~disagreed & both).sum()),
    )


def presence_disagreement_auc(sample_presence, disagreed) -> float:
    """Whether samples disagree on presence where graders do: area under the ROC curve, 0.5 for chance.

    The score of an image is p (1 - p), p being the share of its samples that hold something: largest when half do.

    Args:
        sample_presence: [B] p, in [0, 1].
        disagreed: [B] bool, whether graders disagree on presence; see `presence_disagreement`.
    Returns:
        The probability that an image with disagreement scores higher than one without, ties counting half; NaN if
        all images are of one kind.
    Raises:
        ValueError: shapes do not fit, or a share is out of range.

    Example:
        >>> presence_disagreement_auc([0.5, 0.9, 0.0, 1.0], [True, True, False, False])
        1.0
        >>> presence_disagreement_auc([1.0, 1.0, 1.0], [True, False, False])
        0.5
    """
    sample_presence, disagreed = np.asarray(sample_presence, np.float64), np.asarray(disagreed, bool)
    if sample_presence.ndim != 1 or sample_presence.shape != disagreed.shape:
        raise ValueError(
            f"sample_presence and disagreed must both be [B]. Received: {sample_presence.shape} and "
            f"{disagreed.shape}. Take the mean of `presence(samples)` over its last axis, and `presence_disagreement`."
        )
    if not ((sample_presence >= 0) & (sample_presence <= 1)).all():
        raise ValueError(f"sample_presence must be shares in [0, 1]. Received: {sample_presence}.")
    num_disagreed = int(disagreed.sum())
    num_agreed = len(disagreed) - num_disagreed
    if not num_disagreed or not num_agreed:
        return float("nan")
    ranks = rankdata((sample_presence * (1 - sample_presence)).round(12))  # p and 1 - p score alike, to the last bit
    above = ranks[disagreed].sum() - num_disagreed * (num_disagreed + 1) / 2  # Mann-Whitney U
    return float(above / (num_disagreed * num_agreed))
