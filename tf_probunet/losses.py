"""The cross-entropy of the evidence lower bound (Kohl et al. 2018, equation 4), of all pixels or of the hardest."""

import tensorflow as tf


def masked_cross_entropy(segmentation, logits, ignore_label=255, class_weights=()):
    """Cross-entropy summed over the pixels that are labelled.

    A mean over pixels with beta = 1 lets the KL outweigh it, and all samples become alike: the sum is what the
    evidence lower bound asks for.

    Args:
        segmentation: [B, H, W] int class map.
        logits: [B, H, W, K].
        ignore_label: class map value that counts nothing.
        class_weights: K numbers, what a pixel of each class counts; none: each counts 1.
    Returns:
        [B] cross-entropy in nats, summed over unmasked pixels.

    Example: two pixels, and no idea; the second counts double.
        >>> nats = masked_cross_entropy([[[0, 1]]], tf.zeros((1, 1, 2, 2)), class_weights=(1.0, 2.0))[0]
        >>> float(nats / tf.math.log(2.0))
        3.0
    """
    return tf.reduce_sum(pixel_cross_entropy(segmentation, logits, ignore_label, class_weights), axis=(1, 2))


def pixel_cross_entropy(segmentation, logits, ignore_label=255, class_weights=()):
    """Cross-entropy of each pixel, [B, H, W] in nats, 0 without a label; arguments of `masked_cross_entropy`."""
    segmentation = tf.convert_to_tensor(segmentation)
    labelled = segmentation != ignore_label
    labels = tf.where(labelled, tf.cast(segmentation, tf.int32), 0)
    per_pixel = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if class_weights:
        per_pixel *= tf.gather(tf.constant(class_weights, per_pixel.dtype), labels)
    return tf.where(labelled, per_pixel, 0.0)


def stochastic_top_k(per_pixel, fraction, gumbel):
    """Which pixels count: a fraction of each image's, drawn without replacement in proportion to their cross-entropy.

    Adding Gumbel noise to the logarithm and taking the largest draws so (Kohl et al., "A Hierarchical Probabilistic
    U-Net", 2019, section 3.3, which counts 2 % of the pixels). Pixels that cost nothing, as those without a label, come
    last.

    Args:
        per_pixel: cross-entropy [B, H, W], as `pixel_cross_entropy` gives it.
        fraction: of the pixels, above 0 and at most 1; at least one pixel is taken.
        gumbel: standard Gumbel noise [B, H, W].
    Returns:
        [B, H, W], 1.0 for pixels that count and 0.0 for others; a constant to differentiation.
    """
    shape = tf.shape(per_pixel)
    scores = tf.reshape(tf.math.log(per_pixel) + gumbel, [shape[0], -1])  # log 0 = -inf: last
    num_pixels = tf.shape(scores)[1]
    count = tf.clip_by_value(tf.cast(fraction * tf.cast(num_pixels, tf.float32), tf.int32), 1, num_pixels)
    least = tf.math.top_k(scores, count).values[:, -1:]
    chosen = (scores >= least) & tf.math.is_finite(scores)
    return tf.stop_gradient(tf.reshape(tf.cast(chosen, per_pixel.dtype), shape))


def standard_gumbel(shape, seed, dtype=tf.float32):
    """Gumbel noise of location 0 and scale 1 from a stateless seed."""
    uniform = tf.random.stateless_uniform(shape, seed, minval=tf.as_dtype(dtype).as_numpy_dtype(1e-7), dtype=dtype)
    return -tf.math.log(-tf.math.log(uniform))
