"""Which term of a training step was NaN or infinite first, and when: noted in the step itself, read now and then."""

import tensorflow as tf


class FirstNonFinite:
    """Keeps for each term the first step at which it was not finite, since the last reset.

    A running mean tells that something was not finite, but not when; looking at every step would make a GPU wait. It is
    no part of a model's weights or of its checkpoints.

    Args:
        terms: names; of several that fail at one step the first is named.
    """

    def __init__(self, terms):
        self.terms = tuple(terms)
        # Without aggregation: every replica is given the terms of the whole batch.
        self.steps = tf.Variable(tf.fill([len(self.terms)], -1), trainable=False)

    def note(self, terms, step):
        """`terms`: dict of scalars; `step`: at which they were found."""
        bad = tf.stack([~tf.math.is_finite(tf.cast(terms[name], tf.float32)) if name in terms else False
                        for name in self.terms])
        self.steps.assign(tf.where(bad & (self.steps < 0), tf.cast(step, tf.int32), self.steps))

    def reset(self):
        """Forgets what was found."""
        self.steps.assign(tf.fill([len(self.terms)], -1))

    def found(self):
        """(term, step) of what came first, or None."""
        bad = [(int(step), place) for place, step in enumerate(self.steps.numpy()) if step >= 0]
        return (self.terms[min(bad)[1]], min(bad)[0]) if bad else None
