"""The fused optimizer against Keras's own, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.optimizers import FusedAdam


def path(make, steps=12, compiled=True):
    """Weights, moments and averages after each of some steps on gradients of very different sizes."""
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype("f4")) for shape in ((3, 3, 4, 5), (7,), ())]
    optimizer = make()
    optimizer.build(variables)

    def step(*gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    step = tf.function(step) if compiled else step
    found = []
    for index in range(steps):
        step(*[tf.constant(10.0 ** (index % 5 - 3) * rng.normal(size=variable.shape).astype("f4"), tf.float32)
               for variable in variables])
        found.append([np.array(value) for value in (*variables, *optimizer.variables)])
    return found


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("options", [
    {}, {"use_ema": True, "ema_momentum": 0.9}, {"global_clipnorm": 0.5},
    {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}, {"weight_decay": 0.01}, {"amsgrad": True},
    {"learning_rate": keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.1, 0.01])},
    {"gradient_accumulation_steps": 3, "use_ema": True},
])
def test_weights_and_state_are_those_of_keras(options, compiled):
    options = {"learning_rate": 0.02, **options}
    ours = path(lambda: FusedAdam(**options), compiled=compiled)
    theirs = path(lambda: keras.optimizers.Adam(**options), compiled=compiled)
    for found, expected in zip(ours, theirs, strict=True):
        assert len(found) == len(expected)
        for value, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, other, rtol=2e-5, atol=5e-6)


def test_with_a_loss_scale_an_overflow_changes_nothing():
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.LossScaleOptimizer(FusedAdam(0.1))
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant([np.inf, 1.0]), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([32768.0, 32768.0]), variable)])
    np.testing.assert_allclose(variable, [0.9, 1.9], rtol=1e-4)


def test_comes_back_from_its_config():
    optimizer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(
        FusedAdam(0.3, beta_1=0.8, use_ema=True)))
    assert isinstance(optimizer, FusedAdam) and optimizer.beta_1 == 0.8 and optimizer.use_ema
