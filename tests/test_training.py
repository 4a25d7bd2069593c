"""A run folder: all that is in it, and what comes back from it."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet import callbacks, training
from tf_probunet.build import build_model, build_optimizer
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, load_run
from tf_probunet.training import train
from whole_run import TINY, assert_same_weights, history_of, quiet, weights_of


class TestRunFolder:
    def test_holds_all_that_the_run_made(self, unbroken):
        run, _, _ = unbroken
        names = {path.name for path in run.iterdir()}
        assert {"experiment.json", "data.json", "history.csv", "tensorboard", "checkpoints", BEST_WEIGHTS,
                LAST_WEIGHTS} <= names
        assert not [name for name in names if "partial" in name]
        assert list((run / "tensorboard").rglob("events*"))
        assert Experiment.load(run) == TINY

    def test_progress_is_drawn_where_matplotlib_is(self, unbroken):
        pytest.importorskip("matplotlib")
        assert (unbroken[0] / "progress.png").read_bytes().startswith(b"\x89PNG")

    def test_history_has_a_row_an_epoch(self, unbroken):
        rows = history_of(unbroken[0])
        assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4"), ("3", "6")]
        for row in rows:
            for name in ("loss", "cross_entropy", "kl", "val_loss", "val_cross_entropy", "val_kl",
                         "val_energy_distance", "val_sample_diversity", "learning_rate"):
                assert np.isfinite(float(row[name])), name
        assert float(rows[-1]["learning_rate"]) == pytest.approx(0, abs=1e-9)  # of the step to come: past the cosine

    def test_it_tells_what_it_does(self, unbroken):
        _, model, lines = unbroken
        where = "a GPU" if tf.config.list_physical_devices("GPU") else "the CPU"
        assert lines[0] == (f"tiny: {model.count_params():,} parameters, 24 training images, batches of 4 crops of "
                            f"16x16, 6 steps, float32, on {where}.")
        epochs = [line for line in lines[1:] if not line.startswith("step ")]  # those come on slow machines
        assert [line.split(":")[0] for line in epochs] == ["epoch 1", "epoch 2", "epoch 3"]

    def test_the_model_comes_back_with_the_best_weights(self, unbroken):
        run, model, _ = unbroken
        assert_same_weights([weight.numpy() for weight in model.weights], weights_of(run, BEST_WEIGHTS))

    def test_weights_files_hold_the_weights_alone(self, unbroken):
        """Keras puts the optimizer's state in, too: four times the size."""
        run, model, _ = unbroken
        for name in (BEST_WEIGHTS, LAST_WEIGHTS):
            with h5py.File(run / name) as file:
                numbers = []
                file.visititems(lambda _, item: numbers.append(getattr(item, "size", 0)))
                assert "optimizer" not in file
                # and the three metrics, of two numbers each
                assert sum(numbers) <= model.count_params() + 6

    def test_best_weights_are_the_averaged_ones_of_the_best_epoch(self, unbroken, tiny_info):
        run, _, _ = unbroken
        distances = [float(row["val_energy_distance"]) for row in history_of(run)]
        best = int(np.argmin(distances)) + 1
        checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
        # Validate anew what was saved: the figure of the best epoch comes out, to the bit.
        experiment, model = load_run(run)
        model.compile()
        validation = callbacks.Validation(
            training.evaluation_dataset(tiny_info, "val", 4, crop_size=(16, 16), limit=6), 3, experiment.seed
        )
        validation.set_model(model)
        logs = {}
        validation.on_epoch_end(0, logs)
        assert logs["val_energy_distance"] == pytest.approx(min(distances), abs=1e-9)
        assert checkpoints == ["step-00000004", "step-00000006"]  # the last two epochs'
        name = f"step-{2 * best:08d}"
        if name in checkpoints:
            raw, optimizer = build_model(experiment), build_optimizer(experiment)
            optimizer.build(raw.trainable_variables)
            path = str(run / "checkpoints" / name / "state")
            tf.train.Checkpoint(model=raw, optimizer=optimizer).restore(path).expect_partial()
            averages = [np.array(average) for average in optimizer._model_variables_moving_average]
            assert_same_weights(weights_of(run, BEST_WEIGHTS), averages)
            assert any(np.any(np.array(weight) != average)
                       for weight, average in zip(raw.trainable_variables, averages, strict=True))

    def test_another_run_of_the_same_experiment_is_equal_to_the_bit(self, unbroken, tiny_info, tmp_path):
        train(TINY, tiny_info, tmp_path / "again", report=quiet)
        assert_same_weights(weights_of(tmp_path / "again"), weights_of(unbroken[0]))
        assert history_of(tmp_path / "again") == history_of(unbroken[0])

    def test_steps_that_are_no_whole_epochs_end_where_asked(self, tiny_info, tmp_path):
        experiment = TINY.replace(steps=3, schedule="piecewise")
        train(experiment, tiny_info, tmp_path / "run", report=quiet)
        assert [row["step"] for row in history_of(tmp_path / "run")] == ["2", "3"]
        train(experiment, tiny_info, tmp_path / "run", resume=True, report=quiet)
        assert [row["step"] for row in history_of(tmp_path / "run")] == ["2", "3"]

    def test_a_trained_model_saves_as_a_keras_file_that_loads_without_this_module(self, unbroken, tmp_path):
        _, model, _ = unbroken
        path = tmp_path / "model.keras"
        model.save(path)
        images = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
        np.save(tmp_path / "images.npy", images)
        code = (
            "import sys, keras, numpy as np\n"
            "import tf_probunet.models\n"
            "assert 'tf_probunet.training' not in sys.modules\n"
            "model = keras.saving.load_model(sys.argv[1])\n"
            "images = np.load(sys.argv[2])\n"
            "np.save(sys.argv[3], model.sample(images, 3))\n"
            "assert int(model.optimizer.iterations) == 6 and model.optimizer.use_ema\n"
            "assert type(model.optimizer._learning_rate).__name__ == 'WarmUpSchedule'\n"
            "model.fit(images, (images[..., 0] > 0.5).astype('int32'), verbose=0)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, path, tmp_path / "images.npy", tmp_path / "samples.npy"],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        np.testing.assert_allclose(np.load(tmp_path / "samples.npy"), model.sample(images, 3), atol=1e-5)


class TestLoadRun:
    def test_no_run_is_said(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Not a run"):
            load_run(tmp_path)

    def test_no_weights_yet_is_said(self, tmp_path):
        TINY.save(tmp_path)
        with pytest.raises(FileNotFoundError, match="has no best.weights.h5 yet: no epoch was finished"):
            load_run(tmp_path)

    def test_precision_may_be_another(self, unbroken):
        _, model = load_run(unbroken[0], precision="mixed_bfloat16")
        assert model.dtype_policy.name == "mixed_bfloat16"
