"""The Keras metric against the function: class maps and logits, eager and in a graph, saved and loaded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.metrics import energy_distance
from tf_probunet.metrics.keras_metrics import EnergyDistanceMetric


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, (6, 4, 5, 5)), rng.integers(0, 3, (6, 7, 5, 5))


def test_mean_over_batches_equals_the_function(case):
    graders, samples = case
    metric = EnergyDistanceMetric(num_classes=3)
    for rows in (slice(0, 4), slice(4, 6)):
        metric.update_state(graders[rows], samples[rows])
    expected = energy_distance(samples, graders, 3).energy_distance
    assert float(metric.result()) == pytest.approx(expected.mean(), rel=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(graders, samples, sample_weight=[0, 0, 0, 1, 3, 0])
    assert float(metric.result()) == pytest.approx((expected[3] + 3 * expected[4]) / 4, rel=1e-6)


def test_logits_and_graphs(case):
    graders, samples = case
    metric = EnergyDistanceMetric(num_classes=3, classes=[2])

    @tf.function
    def step(graders, logits):
        metric.update_state(graders, logits)
        return metric.result()

    expected = energy_distance(samples, graders, 3, classes=[2]).energy_distance.mean()
    assert float(step(tf.constant(graders), tf.one_hot(samples, 3))) == pytest.approx(expected, rel=1e-6)


def test_padding_and_weights_of_graders(case):
    graders, samples = case
    padded = graders.copy()
    padded[:3, 2:] = 255
    weights = np.where(np.arange(4) < 2, 0.5, 0.0)[None].repeat(3, axis=0)
    weights = np.concatenate([weights, np.full((3, 4), 0.25)])
    expected = energy_distance(samples, padded, 3, grader_weights=weights).energy_distance.mean()
    for options in ({}, {"grader_weights": weights}):
        metric = EnergyDistanceMetric(num_classes=3)
        metric.update_state(padded, samples, **options)
        assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_configuration_survives():
    metric = EnergyDistanceMetric(num_classes=24, classes=(1, 19), ignore_label=None, name="flips")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config() and again.classes == (1, 19)
