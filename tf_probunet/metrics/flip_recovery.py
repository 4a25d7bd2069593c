"""Whether a posterior passes on the label flips of the segmentation that it was given.

A model can sample a flip at its rate only if its latents carry it. Where they do not, the decoder shows the likelier of
the two classes whatever the latents are, and mode frequencies are wrong for want of training; where they do and
frequencies are wrong all the same, prior and posterior do not meet.
"""

import numpy as np

from tf_probunet.metrics.checks import check_same_images
from tf_probunet.metrics.mode_frequencies import count_pixels


def flip_recovery_counts(reconstructions, truth, flipped, sources, targets) -> np.ndarray:
    """Votes of pixels on every flip, apart for segmentations that have it and that do not.

    Args:
        reconstructions: [B, N, H, W] integer class maps, decoded from the posterior's latents.
        truth: [B, N, H, W] the unflipped class maps of what was given to the posterior.
        flipped: [B, N, F] bool, the flips that it had.
        sources, targets: [F] the classes that flip, and their twins.
    Returns:
        [B, F, 2, 2] float64, which add up over images: of unflipped and of flipped segmentations, how many
        reconstructions have any of their class's pixels as the class or its twin, and how many of those more as the
        twin.
    Raises:
        ValueError: shapes do not fit.

    Example: two segmentations of one pixel, the second flipped; both come back as the twin.
        >>> import numpy as np
        >>> maps, truth, flipped = np.full((1, 2, 1, 1), 2), np.zeros((1, 2, 1, 1), int), [[[False], [True]]]
        >>> counts = flip_recovery_counts(maps, truth, flipped, [0], [2])
        >>> counts.tolist(), flip_recovery(counts).tolist()
        ([[[[1.0, 1.0], [1.0, 1.0]]]], [[0.0]])
    """
    reconstructions, truth, flipped = np.asarray(reconstructions), np.asarray(truth), np.asarray(flipped, bool)
    check_same_images(reconstructions, truth)
    if truth.shape != reconstructions.shape or flipped.shape != (*truth.shape[:2], len(sources)):
        raise ValueError(
            "Every reconstruction needs the class map and the flips of what it was made from: truth [B, N, H, W] as "
            f"reconstructions, flipped [B, N, F]. Received: shapes {reconstructions.shape}, {truth.shape} and "
            f"{flipped.shape}, {len(sources)} flips."
        )
    pairs = [maps.reshape(-1, 1, *maps.shape[2:]) for maps in (reconstructions, truth)]
    pixels = count_pixels(*pairs, sources, targets).reshape(*flipped.shape, 3)
    met = pixels[..., 1:].sum(axis=-1) > 0
    voted = pixels[..., 2] > pixels[..., 1]  # shape: [B, N, F]
    return np.stack(
        [np.stack([(state & met).sum(axis=1), (state & voted).sum(axis=1)], axis=-1) for state in (~flipped, flipped)],
        axis=-2,
    ).astype(np.float64)


def flip_recovery(counts) -> np.ndarray:
    """Youden's index of the votes: their share for the twin where it is one, less that where it is not.

    Args:
        counts: [..., 2, 2] of `flip_recovery_counts`, or sums of it over images.
    Returns:
        [...]: 1 where every flip comes back, 0 where reconstructions tell nothing of it, whatever they show; NaN where
        no reconstruction has the class, or no segmentation had or lacked the flip.

    Source: Youden 1950, "Index for rating diagnostic tests".
    """
    counts = np.asarray(counts, np.float64)
    shares = counts[..., 1] / np.where(counts[..., 0] > 0, counts[..., 0], np.nan)
    return shares[..., 1] - shares[..., 0]
