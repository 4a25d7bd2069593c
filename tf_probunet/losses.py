"""The negative evidence lower bound of the paper (equation 4) and its cross-entropy."""

import tensorflow as tf


def masked_cross_entropy(segmentation, logits, ignore_label=255):
    """Cross-entropy summed over the pixels that are labelled.

    A mean over pixels with beta = 1 lets the KL outweigh it, and all samples become alike: the sum is what the
    evidence lower bound asks for.

    Args:
        segmentation: [B, H, W] int class map.
        logits: [B, H, W, K].
        ignore_label: class map value that counts nothing.
    Returns:
        [B] cross-entropy in nats, summed over unmasked pixels.
    """
    labelled = segmentation != ignore_label
    labels = tf.where(labelled, tf.cast(segmentation, tf.int32), 0)
    per_pixel = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_sum(tf.where(labelled, per_pixel, 0.0), axis=(1, 2))
