"""What models with a fixed set of hypotheses share: which of them a seed picks, and their best guess together."""

import tensorflow as tf


def choose(num_hypotheses, num_samples, seed):
    """Indices [M] of hypotheses in an order drawn from the seed: none twice before all were there, then over again.

    Args:
        num_hypotheses: to choose from.
        num_samples: M.
        seed: [2] int.
    """
    order = tf.argsort(tf.random.stateless_uniform((num_hypotheses,), seed))
    return tf.gather(order, tf.range(num_samples) % num_hypotheses)


def mean_logits(logits):
    """Log of the mean probability over hypotheses: logits [B, M, H, W, K] to [B, H, W, K]."""
    num_hypotheses = tf.cast(tf.shape(logits)[1], logits.dtype)
    return tf.reduce_logsumexp(tf.nn.log_softmax(logits), axis=1) - tf.math.log(num_hypotheses)
