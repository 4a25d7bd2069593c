"""Callbacks of training, each alone."""

import math
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet import callbacks
from tf_probunet.callbacks import averaged_weights
from tf_probunet.callbacks.progress import _duration
from tf_probunet.callbacks.validation import one_grader_an_image
from tf_probunet.callbacks.wall import choose_cases, draw_wall
from tf_probunet.metrics import energy_distance
from tf_probunet.models import ProbabilisticUNet


def trained(optimizer, steps=3, **options):
    keras.utils.set_random_seed(0)
    model = ProbabilisticUNet(channels=(4, 8), num_convs=1, latent_dim=2, initializer="he_normal", **options)
    model.compile(optimizer)
    images = np.random.default_rng(0).random((4, 16, 16, 1), np.float32)
    weights = [[weight.numpy() for weight in model.trainable_weights]]
    for _ in range(steps):
        model.train_on_batch(images, (images[..., 0] > 0.5).astype(np.int32))
        weights.append([weight.numpy() for weight in model.trainable_weights])
    return model, weights


def assert_weights(model, expected, **tolerance):
    for weight, value in zip(model.trainable_weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, **{"rtol": 0, "atol": 0, **tolerance})


class TestAveragedWeights:
    def averages(self, weights, momentum):
        """Exponential moving average that starts at the weights after the first step."""
        average = weights[1]
        for step in weights[2:]:
            average = [momentum * old + (1 - momentum) * new for old, new in zip(average, step, strict=True)]
        return average

    def test_are_the_moving_average_within_and_the_raw_ones_after(self):
        model, weights = trained(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.8))
        with averaged_weights(model):
            assert_weights(model, self.averages(weights, 0.8), atol=1e-6)
        assert_weights(model, weights[-1])

    def test_raw_ones_come_back_after_an_error(self):
        model, weights = trained(keras.optimizers.Adam(1e-2, use_ema=True))
        with pytest.raises(KeyError), averaged_weights(model):
            raise KeyError
        assert_weights(model, weights[-1])

    def test_without_an_average_nothing_changes(self):
        model, weights = trained("adam")
        with averaged_weights(model):
            assert_weights(model, weights[-1])

    def test_with_a_loss_scale(self):
        model, _ = trained(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5), steps=12,
                           dtype="mixed_float16")
        raw = [weight.numpy() for weight in model.trainable_weights]
        with averaged_weights(model):
            assert any(np.any(weight.numpy() != value)
                       for weight, value in zip(model.trainable_weights, raw, strict=True))
        assert_weights(model, raw)


class TestLastStep:
    @pytest.mark.parametrize("first, total, trained_steps", [(0, 3, 3), (2, 3, 1)])
    def test_ends_within_an_epoch(self, first, total, trained_steps):
        model, _ = trained("adam", steps=0)
        images = np.random.default_rng(0).random((8, 16, 16, 1), np.float32)
        epochs = []
        model.fit(images, np.zeros((8, 16, 16), np.int32), batch_size=2, epochs=2, verbose=0, callbacks=[
            callbacks.LastStep(total, first), keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: epochs.append(1))
        ])
        assert int(model.optimizer.iterations) == trained_steps
        assert len(epochs) == 1  # a short epoch ends as any other


class TestProgress:
    def test_tells_step_losses_and_time_left(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        lines = []
        progress = callbacks.Progress(1000, first_step=100, report=lines.append, interval=20)
        for _ in range(21):
            progress.on_train_batch_end(0, {"loss": tf.constant(12.3456), "kl": 0.5})
            now[0] += 2.0
        # 10 steps after the first, which compiles, 20 seconds have passed.
        assert lines[0] == "step 111/1000 (11 %)  loss 12.35  kl 0.5  2.00 s a step, 29 min 38 s left"
        assert len(lines) == 2

    @pytest.mark.parametrize("seconds, text", [(59.9, "0 min 59 s"), (3600, "1 h 00 min"), (7384, "2 h 03 min")])
    def test_durations(self, seconds, text):
        assert _duration(seconds) == text


def batches(num=5, size=16, graders=3, batch_size=2):
    """Validation batches; every second image has a grader less, and its row is padded."""
    rng = np.random.default_rng(0)
    segmentations = (rng.random((num, graders, size, size)) < 0.3).astype(np.int32)
    weights = np.full((num, graders), 1 / graders, np.float32)
    segmentations[1::2, -1] = 255
    weights[1::2] = [0.5, 0.5, 0.0]
    return tf.data.Dataset.from_tensor_slices({
        "image": rng.random((num, size, size, 1), np.float32),
        "segmentations": segmentations,
        "grader_weights": weights,
    }).batch(batch_size)


class TestValidation:
    def test_adds_the_metrics_of_the_averaged_weights(self):
        model, _ = trained(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5))
        callback = callbacks.Validation(batches(), num_samples=4, seed=3)
        callback.set_model(model)
        logs = {"loss": 1.0}
        callback.on_epoch_end(0, logs)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        results = [
            energy_distance(np.argmax(model.sample(batch["image"], 4, seed=(3, index)), axis=-1),
                            batch["segmentations"].numpy(), 2, grader_weights=batch["grader_weights"].numpy())
            for index, batch in enumerate(batches())
        ]
        distances = np.concatenate([result.energy_distance for result in results])
        diversities = np.concatenate([result.sample_diversity for result in results])
        assert logs["val_energy_distance"] == pytest.approx(distances.mean(), abs=1e-9)
        assert logs["val_sample_diversity"] == pytest.approx(diversities.mean(), abs=1e-9)
        losses = model.evaluate(batches().enumerate().map(one_grader_an_image), return_dict=True, verbose=0)
        assert {name: logs[f"val_{name}"] for name in losses} == pytest.approx(losses, rel=1e-6)
        assert set(logs) == {"loss", "val_loss", "val_cross_entropy", "val_kl", "val_energy_distance",
                             "val_sample_diversity", "val_grader_diversity", "val_nested_pairs", "val_kl_0", "val_kl_1",
                             "val_active_latents", "val_prior_stddev"}
        assert logs["val_kl_0"] + logs["val_kl_1"] == pytest.approx(logs["val_kl"], rel=1e-5)

    def test_is_the_same_each_time(self):
        model, _ = trained("adam", steps=1)
        callback = callbacks.Validation(batches(), num_samples=2, seed=3)
        callback.set_model(model)
        logs = [{}, {}]
        for each in logs:
            callback.on_epoch_end(0, each)
        assert logs[0] == pytest.approx(logs[1], rel=1e-6)

    def test_graders_take_turns_and_padding_none(self):
        batch = next(iter(batches(num=5, batch_size=5)))
        images, found = one_grader_an_image(0, batch)
        expected = [batch["segmentations"][image, grader] for image, grader in enumerate([0, 1, 2, 1, 1])]
        np.testing.assert_array_equal(found, expected)
        assert images.shape == (5, 16, 16, 1) and not np.any(found == 255)


class TestBestWeights:
    def saved(self, tmp_path, distances, best=None):
        """Which epochs saved weights."""
        model, _ = trained("adam", steps=0)
        callback = callbacks.BestWeights(tmp_path / "best.weights.h5", best)
        callback.set_model(model)
        epochs = []
        for epoch, distance in enumerate(distances):
            (tmp_path / "best.weights.h5").unlink(missing_ok=True)
            callback.on_epoch_end(epoch, {"val_energy_distance": distance})
            if (tmp_path / "best.weights.h5").is_file():
                epochs.append(epoch)
        return epochs

    def test_are_saved_when_the_energy_distance_is_lower_than_ever(self, tmp_path):
        assert self.saved(tmp_path, [0.5, 0.6, 0.5, 0.4]) == [0, 3]
        assert self.saved(tmp_path, [0.5, 0.2], best=0.3) == [1]

    def test_nan_is_no_progress(self, tmp_path):
        assert self.saved(tmp_path, [math.nan, 0.5, math.nan, 0.6, 0.4]) == [1, 4]

    def test_a_failed_save_leaves_the_earlier_file_and_no_other(self, tmp_path, monkeypatch):
        model, _ = trained("adam", steps=0)
        path = tmp_path / "best.weights.h5"
        path.write_bytes(b"earlier")

        def fails(partial, *_, **__):
            partial.write_bytes(b"half")
            raise OSError("No space left on device")

        monkeypatch.setattr(model, "save_weights", fails)
        with pytest.raises(OSError):
            callbacks.save_weights(model, path)
        assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]


class TestHistory:
    def history(self, path, first_epoch=0):
        history = callbacks.History(path, first_epoch)
        history.set_model(trained("adam", steps=0)[0])
        return history

    def test_goes_on_after_a_resume_and_drops_what_is_replayed(self, tmp_path):
        path = tmp_path / "history.csv"
        first = self.history(path)
        for epoch, value in enumerate((0.5, 0.3, 0.2)):
            first.on_epoch_end(epoch, {"loss": 1.0, "val_energy_distance": value})
        again = self.history(path, first_epoch=2)
        assert again.best("val_energy_distance") == 0.3
        again.on_epoch_end(2, {"loss": 1.0, "val_energy_distance": 0.25})
        rows = callbacks.read_history(path)
        assert [(row["epoch"], row["val_energy_distance"]) for row in rows] == [(1, 0.5), (2, 0.3), (3, 0.25)]
        assert rows == again.rows
        # Whole numbers stay whole: a resumed file reads as an unbroken one.
        assert [line.split(",")[0] for line in path.read_text().split()] == ["epoch", "1", "2", "3"]

    def test_nothing_is_best_before_the_first_epoch(self, tmp_path):
        assert self.history(tmp_path / "history.csv").best("val_energy_distance") is None


class TestDrawing:
    def run(self, epoch_seconds, drawing_seconds, num_epochs):
        """The epochs that were drawn, and the share of the time it took."""
        clock, drawn = [100.0], []

        class Slow(callbacks.Drawing):
            def draw(self, epoch, logs):
                clock[0] += drawing_seconds
                drawn.append(epoch)

        callback = Slow(num_epochs, clock=lambda: clock[0])
        for epoch in range(num_epochs):
            clock[0] += epoch_seconds
            callback.on_epoch_end(epoch, {})
        return drawn, len(drawn) * drawing_seconds / (clock[0] - 100)

    def test_of_long_epochs_each_is_drawn(self):
        assert self.run(epoch_seconds=60, drawing_seconds=1.5, num_epochs=5)[0] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("epoch_seconds", [0.5, 3, 17])
    def test_of_short_ones_as_many_as_a_twentieth_of_the_time_allows(self, epoch_seconds):
        drawn, share = self.run(epoch_seconds, drawing_seconds=1.5, num_epochs=1000)
        assert 0.03 < share < 0.052 and drawn[-1] == 999

    def test_of_a_run_of_moments_the_end(self):
        assert self.run(epoch_seconds=0.1, drawing_seconds=0.7, num_epochs=4)[0] == [3]


class TestWall:
    def test_is_kept_for_tensorboard_each_time(self, tmp_path):
        pytest.importorskip("matplotlib")
        model, _ = trained("adam", steps=1)
        wall = callbacks.Wall(batches(), tmp_path / "wall.png", tmp_path / "events", seed=0, num_epochs=2, num_samples=3)
        wall.set_model(model)
        for epoch in range(2):
            (tmp_path / "wall.png").unlink(missing_ok=True)
            wall.draw(epoch, {"val_energy_distance": 0.5})
            assert (tmp_path / "wall.png").read_bytes().startswith(b"\x89PNG")
        events = [event for path in (tmp_path / "events").iterdir()
                  for event in tf.compat.v1.train.summary_iterator(str(path)) if event.summary.value]
        assert [event.step for event in events] == [0, 1]

    def test_images_are_those_with_something_on_them_evenly_spread(self):
        masks = np.zeros((20, 2, 8, 8), np.int32)
        masks[::2, 1, 2:4] = 1  # of every other image
        batch = {"image": np.arange(20, dtype=np.float32)[:, None, None, None] * np.ones((1, 8, 8, 1), np.float32),
                 "segmentations": masks, "grader_weights": np.tile(np.float32([0.5, 0.5]), (20, 1))}
        cases = choose_cases(tf.data.Dataset.from_tensors(batch))
        assert [int(case["image"][0, 0, 0]) for case in cases] == [0, 2, 6, 10, 12, 16]
        assert len(choose_cases(tf.data.Dataset.from_tensors({**batch, "segmentations": masks * 0}))) == 6

    def test_of_many_classes_maps_are_drawn(self, tmp_path):
        pytest.importorskip("matplotlib")
        rng = np.random.default_rng(0)
        cases = [{"image": rng.random((16, 16, 3), np.float32), "segmentations": rng.integers(0, 5, (2, 16, 16))}]
        draw_wall(cases, rng.integers(0, 5, (1, 3, 16, 16)), rng.random((1, 16, 16)), tmp_path / "wall.png",
                  num_classes=5, ignore_label=255, title="five classes")
        assert (tmp_path / "wall.png").stat().st_size > 1000


def test_latents_are_measured_as_tensorflow_probability_does():
    model, _ = trained("adam", steps=3)
    logs = {}
    callback = callbacks.Validation(batches(), num_samples=2, seed=3)
    callback.set_model(model)
    callback.on_epoch_end(0, logs)
    by_latent, stddevs = [], []
    for images, segmentations in batches().enumerate().map(one_grader_an_image):
        posterior, prior = model.posterior(images, segmentations), model.prior(images)
        normals = [tfp.distributions.Normal(each.mean(), each.stddev()) for each in (posterior, prior)]
        by_latent.append(tfp.distributions.kl_divergence(*normals).numpy())
        stddevs.append(prior.stddev().numpy())
    expected = np.concatenate(by_latent).mean(axis=0)
    assert [logs[f"val_kl_{place}"] for place in range(2)] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert logs["val_active_latents"] == (expected > 0.01).sum()
    assert logs["val_prior_stddev"] == pytest.approx(np.concatenate(stddevs).mean(), rel=1e-5)
