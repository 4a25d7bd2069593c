"""From an experiment to its model and its rates."""

import keras
import numpy as np
import tensorflow as tf

from tf_probunet.build import build_model, build_optimizer
from tf_probunet.schedules import WarmUpSchedule
from whole_run import TINY, assert_same_weights


class TestBuildModel:
    def test_initial_weights_follow_from_the_seed_alone(self):
        first, other = build_model(TINY), build_model(TINY.replace(seed=1))
        tf.random.set_seed(99)
        assert_same_weights([w.numpy() for w in build_model(TINY).weights], [w.numpy() for w in first.weights])
        assert all(np.any(w.numpy() != o.numpy()) for w, o in zip(first.weights, other.weights, strict=True))

    def test_precision_reaches_the_model(self):
        assert build_model(TINY.replace(precision="mixed_bfloat16")).dtype_policy.name == "mixed_bfloat16"


class TestMovingAverage:
    def test_has_the_momentum_of_the_experiment_0_included(self):
        found = [build_optimizer(TINY.replace(ema_momentum=value)) for value in (None, 0.0, 0.5)]
        assert [optimizer.use_ema for optimizer in found] == [False, True, True]
        assert [optimizer.ema_momentum for optimizer in found[1:]] == [0.0, 0.5]


class TestSchedule:
    def rates(self, experiment, steps):
        schedule = build_optimizer(experiment)._learning_rate
        return [float(schedule(step)) for step in steps]

    def test_cosine_falls_from_the_base_rate_to_zero(self):
        experiment = TINY.replace(steps=100, learning_rate=2.0, warmup_steps=0)
        np.testing.assert_allclose(self.rates(experiment, [0, 25, 50, 100, 120]),
                                   [2, 1 + np.sqrt(0.5), 1, 0, 0], atol=1e-6)

    def test_piecewise_changes_at_its_boundaries(self):
        experiment = TINY.replace(schedule="piecewise", learning_rate=1.0, schedule_boundaries=(10, 20),
                                  schedule_values=(0.5, 0.25), warmup_steps=0)
        assert self.rates(experiment, [0, 9, 10, 19, 20, 1000]) == [1, 1, 0.5, 0.5, 0.25, 0.25]

    def test_warm_up_rises_linearly(self):
        experiment = TINY.replace(schedule="piecewise", learning_rate=1.0, warmup_steps=4)
        assert self.rates(experiment, [0, 1, 3, 4]) == [0.25, 0.5, 1, 1]

    def test_comes_back_from_its_config(self):
        schedule = WarmUpSchedule(0.1, "piecewise", 100, (10,), (0.05,), 5)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
        assert isinstance(again, WarmUpSchedule)
        assert [float(again(step)) for step in (0, 7, 10)] == [float(schedule(step)) for step in (0, 7, 10)]
