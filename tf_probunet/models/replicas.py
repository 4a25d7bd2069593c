"""One training step on several replicas: every replica goes on with what the whole batch says."""

import tensorflow as tf


def over_replicas(terms, gradients):
    """Means of the terms and sums of the gradients over all replicas; as they are where there is one.

    They travel together, in one exchange a step. What follows (clipping, norm, whether all is finite, GECO) sees what
    one replica with the whole batch would see, and is the same everywhere.

    Args:
        terms: dict of scalars.
        gradients: list of tensors, None for variables that had no part in the loss.
    """
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas == 1:
        return terms, gradients
    shares = [tf.cast(term, tf.float32) / num_replicas for term in terms.values()]
    known = [gradient for gradient in gradients if gradient is not None]
    context = tf.distribute.get_replica_context()
    *summed, means = context.all_reduce(tf.distribute.ReduceOp.SUM, [*known, tf.stack(shares)])
    summed = iter(summed)
    return (dict(zip(terms, tf.unstack(means, len(terms)), strict=True)),
            [None if gradient is None else next(summed) for gradient in gradients])


def take_summed_gradients(optimizer):
    """Lets an optimizer take gradients as sums over all replicas.

    Keras would clip each replica's gradient by itself, and then sum them: another step than on one device. There is no
    public way around it.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not hasattr(optimizer, "_all_reduce_sum_gradients"):
        raise RuntimeError("This version of Keras sums gradients over devices in another way. Install "
                           "keras>=3.15,<3.16.")
    optimizer._all_reduce_sum_gradients = list
