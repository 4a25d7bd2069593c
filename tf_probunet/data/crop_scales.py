"""Batches of crops of several sizes that cost the same: the larger the crops, the fewer."""

import tensorflow as tf

STREAM = 29  # tells the seed of sizes from those of what happens to an example


def scaled_crops(crop_size, batch_size, scales) -> list[tuple[tuple[int, int], int]]:
    """((height, width), images in a batch) for each scale; a batch has at most the pixels of that of scale 1.

    Args:
        crop_size: (height, width) at scale 1.
        batch_size: images in a batch at scale 1.
        scales: factors on both sides.
    Raises:
        ValueError: a scale is not positive, or one crop has more pixels than the whole batch at scale 1.

    Example:
        >>> scaled_crops((64, 64), 24, (1.0, 1.5, 2.0))
        [((64, 64), 24), ((96, 96), 10), ((128, 128), 6)]
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"crop_scales must be positive numbers, one at least. Received: {tuple(scales)}.")
    pixels = batch_size * crop_size[0] * crop_size[1]
    found = []
    for scale in scales:
        height, width = (round(side * scale) for side in crop_size)
        if not 0 < height * width <= pixels:
            raise ValueError(
                f"crop_scales: not one crop of {height}x{width} has as few pixels as a batch of {batch_size} crops of "
                f"{crop_size[0]}x{crop_size[1]}. Received: crop_scales {tuple(scales)}. Choose smaller scales or a "
                "larger batch_size."
            )
        found.append(((height, width), pixels // (height * width)))
    return found


def drawn_scale(seed, step, num_scales):
    """Which of the scales the batch of a step has, an int64 scalar below `num_scales`; each as likely as the next."""
    seeds = tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), step]), STREAM)
    return tf.random.stateless_uniform((), seeds, maxval=num_scales, dtype=tf.int64)
