"""GECO on toys whose answer is known."""

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.geco import LEAST, MOST, Geco


def made(**options):
    geco = Geco(**{"kappa": 0.5, **options})
    geco.build()
    return geco


def test_the_multiplier_follows_the_average_constraint_step_by_step():
    geco, average, log_multiplier = made(decay=0.9, rate=0.05), None, 0.0
    for constraint in (0.4, 3.0, -0.2, -5.0, 0.1):
        geco.update(tf.constant(constraint))
        average = constraint if average is None else 0.9 * average + 0.1 * constraint
        log_multiplier += 0.05 * np.clip(average, -1, 1)
        assert float(geco.multiplier) == pytest.approx(np.exp(log_multiplier), rel=1e-5)
        assert float(geco.average) == pytest.approx(average, rel=1e-5)


@pytest.mark.parametrize("constraint, bound", [(1.0, MOST), (-1.0, LEAST)])
def test_the_multiplier_is_bounded(constraint, bound):
    geco = made(rate=4.0)
    for _ in range(5):
        geco.update(tf.constant(constraint))
    assert float(geco.multiplier) == pytest.approx(bound, rel=1e-4)


def test_the_loss_is_the_lagrangian_and_the_multiplier_no_part_of_the_gradient():
    geco = made()
    geco.log_multiplier.assign(np.log(3.0))
    reconstruction, kl = tf.Variable(7.0), tf.Variable(2.0)
    with tf.GradientTape() as tape:
        loss = geco.loss(reconstruction, 5.0, kl)
    assert float(loss) == pytest.approx(3 * (7 - 5) + 2)
    np.testing.assert_allclose(tape.gradient(loss, [reconstruction, kl]), [3.0, 1.0], rtol=1e-6)


def test_it_finds_the_constrained_optimum():
    """Least x^2 ("KL") with (x - 4)^2 ("reconstruction") at most 1: x = 3, where 2 x = multiplier * 2 (4 - x): 3."""
    geco, x = made(decay=0.9, rate=0.02), tf.Variable(0.0)
    for _ in range(3000):
        with tf.GradientTape() as tape:
            reconstruction = (x - 4.0) ** 2
            loss = geco.loss(reconstruction, 1.0, x**2)
        x.assign_sub(0.02 * tape.gradient(loss, x))
        geco.update(reconstruction - 1.0)
    assert float(x) == pytest.approx(3.0, abs=0.02)
    assert float(geco.multiplier) == pytest.approx(3.0, abs=0.1)


def test_a_target_that_is_none_is_refused():
    with pytest.raises(ValueError, match="geco_kappa is a target in nats a pixel, above 0, or none. Received: 0"):
        Geco(0)
