"""A run folder: all that is in it, what survives a kill, and what is refused."""

import csv
import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet import callbacks, training
from tf_probunet.build import build_model, build_optimizer
from tf_probunet.checkpoints import Checkpoints
from tf_probunet.data.dataset import load_info
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, load_run
from tf_probunet.schedules import WarmUpSchedule
from tf_probunet.training import train

TINY = Experiment(
    name="tiny", channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal",
    crop_size=(16, 16), batch_size=4, mirror=True, rotation=90.0, steps=6, steps_per_epoch=2, learning_rate=3e-3,
    schedule="cosine", warmup_steps=2, clipnorm=1000.0, ema_momentum=0.5, validation_images=6, validation_samples=3,
    precision="float32",
)


def quiet(_):
    pass


def weights_of(run, name=LAST_WEIGHTS):
    _, model = load_run(run, name)
    return [weight.numpy() for weight in model.weights]


def assert_same_weights(found, expected):
    for weight, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weight, other)


def history_of(run):
    """Rows of history.csv, as text, without the seconds that each epoch took."""
    with open(run / "history.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def unbroken(tiny_info, tmp_path_factory):
    """A whole run of TINY: its folder, model and what it reported."""
    run = tmp_path_factory.mktemp("training") / "unbroken"
    lines = []
    model = train(TINY, tiny_info, run, report=lines.append)
    return run, model, lines


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
        assert lines[0] == (f"tiny: {model.count_params():,} parameters, 24 training images, batches of 4 crops of "
                            "16x16, 6 steps, float32.")
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


class TestResume:
    def broken(self, monkeypatch, tiny_info, run, step):
        """A run that stops with an exception after `step` steps."""
        def on_train_batch_end(self, batch, logs=None):
            self.step += 1
            if self.step == step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Progress, "on_train_batch_end", on_train_batch_end)
            with pytest.raises(KeyboardInterrupt):
                train(TINY, tiny_info, run, report=quiet)

    @pytest.mark.parametrize("step", [1, 5])
    def test_after_an_exception_goes_on_as_if_unbroken(self, unbroken, tiny_info, tmp_path, monkeypatch, step):
        run = tmp_path / "run"
        self.broken(monkeypatch, tiny_info, run, step)
        assert not (run / LAST_WEIGHTS).exists()
        lines = []
        train(TINY, tiny_info, run, resume=True, report=lines.append)
        assert lines[0] == f"Resuming {run} at step {step // 2 * 2} of 6."
        assert_same_weights(weights_of(run), weights_of(unbroken[0]))
        assert_same_weights(weights_of(run, BEST_WEIGHTS), weights_of(unbroken[0], BEST_WEIGHTS))
        assert history_of(run) == history_of(unbroken[0])

    @pytest.mark.parametrize("where", ["at an epoch's end", "within an epoch", "while a checkpoint is written"])
    def test_after_a_kill_goes_on_as_if_unbroken(self, unbroken, tiny_info, tmp_path, where):
        run = tmp_path / "run"
        patch = {
            "at an epoch's end": ("checkpoints.Checkpoints.save", "self, step",
                                  "saved(self, step)\n    if step == 4: kill()"),
            "within an epoch": ("callbacks.Progress.on_train_batch_end", "self, batch, logs=None",
                                "self.step += 1\n    if self.step == 5: kill()"),
            # History has the epoch, the checkpoint is not there yet.
            "while a checkpoint is written": ("checkpoints.sha256_of", "path",
                                              "if 'step-00000004' in str(path): kill()\n    return summed(path)"),
        }[where]
        code = (
            "import json, os, signal, sys\n"
            "from tf_probunet import callbacks, checkpoints\n"
            "from tf_probunet.data.dataset import load_info\n"
            "from tf_probunet.experiment import Experiment\n"
            "from tf_probunet.training import train\n"
            "saved, summed = checkpoints.Checkpoints.save, checkpoints.sha256_of\n"
            "def kill(): os.kill(os.getpid(), signal.SIGKILL)\n"
            f"def patched({patch[1]}):\n    {patch[2]}\n"
            f"{patch[0]} = patched\n"
            "experiment = Experiment().replace(**json.loads(sys.argv[1]))\n"
            "train(experiment, load_info(sys.argv[2]), sys.argv[3])\n"
        )
        fields = json.dumps(dataclasses.asdict(TINY))
        done = subprocess.run([sys.executable, "-c", code, fields, tiny_info.folder, run], capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        assert (run / BEST_WEIGHTS).is_file() and load_run(run)  # what was best so far is there to use
        train(TINY, tiny_info, run, resume=True, report=quiet)
        assert_same_weights(weights_of(run), weights_of(unbroken[0]))
        assert_same_weights(weights_of(run, BEST_WEIGHTS), weights_of(unbroken[0], BEST_WEIGHTS))
        assert history_of(run) == history_of(unbroken[0])

    def test_a_finished_run_stays_as_it_is(self, unbroken, tiny_info):
        run, _, _ = unbroken
        best = weights_of(run, BEST_WEIGHTS)
        def state():
            return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in run.rglob("*")}

        before = state()
        lines = []
        model = train(TINY, tiny_info, run, resume=True, report=lines.append)
        assert lines == [f"{run} is finished: 6 of 6 steps. Nothing to do."]
        assert state() == before
        assert_same_weights([weight.numpy() for weight in model.weights], best)

    def test_a_changed_experiment_is_refused_by_field(self, unbroken, tiny_info):
        with pytest.raises(ValueError, match=r"started with another experiment. It differs in learning_rate: 0.003 "
                                             r"here, 0.01 there; seed: 0 here, 7 there\.$"):
            train(TINY.replace(learning_rate=0.01, seed=7), tiny_info, unbroken[0], resume=True, report=quiet)

    def test_another_dataset_is_refused(self, unbroken, tiny_folder, tmp_path):
        folder = tmp_path / "other"
        folder.mkdir()
        for path in tiny_folder.iterdir():
            (folder / path.name).symlink_to(path)
        (folder / "dataset.json").unlink()
        content = json.loads((tiny_folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**content, "image": {**content["image"], "high": 128.0}}))
        with pytest.raises(ValueError, match="started with another dataset than .*other. It differs in image"):
            train(TINY, load_info(folder), unbroken[0], resume=True, report=quiet)

    def test_nothing_to_resume_is_said(self, tiny_info, tmp_path):
        with pytest.raises(FileNotFoundError, match="Nothing to resume.*Start without --resume"):
            train(TINY, tiny_info, tmp_path / "none", resume=True, report=quiet)


class TestRefused:
    def test_a_run_is_never_started_over_another(self, unbroken, tiny_info):
        before = weights_of(unbroken[0])
        with pytest.raises(FileExistsError, match="already exists. Use --resume to go on with it, or choose another"):
            train(TINY, tiny_info, unbroken[0], report=quiet)
        assert_same_weights(weights_of(unbroken[0]), before)

    @pytest.mark.parametrize("changes, message", [
        ({"num_classes": 3}, "experiment has num_classes 3, the dataset .* has 2. Set --num_classes 2"),
        ({"image_channels": 3}, "experiment has image_channels 3, the dataset .* has 1"),
        ({"crop_size": (64, 64)}, "crop of 64x64 is larger than images of split .*, 32x32"),
        ({"crop_size": (16, 16), "crop_scales": (1, 4), "batch_size": 64},
         "Of crop_scales, 4 does not fit; --crop_scales 1 leaves crops as they are. The crop of 64x64 is larger"),
        ({"crop_scales": (1, 4)}, "not one crop of 64x64 has as few pixels as a batch of 4 crops of 16x16"),
        ({"crop_size": (16, 17)}, r"multiples of 2 \(1 downsamplings\). Received: 16x17"),
        ({"upsampling": "nearest"}, "Unknown upsampling 'nearest'"),
    ])
    def test_what_does_not_fit_leaves_no_folder(self, tiny_info, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            train(TINY.replace(**changes), tiny_info, tmp_path / "run", report=quiet)
        assert not (tmp_path / "run").exists()

    def test_another_ignore_label_is_refused(self, tiny_info, tmp_path):
        with pytest.raises(ValueError, match="marks unlabelled pixels with 7, the model expects 255"):
            train(TINY, dataclasses.replace(tiny_info, ignore_label=7), tmp_path / "run", report=quiet)

    def test_a_dataset_without_validation_is_refused(self, tiny_info, tmp_path):
        info = dataclasses.replace(tiny_info, splits={"train": tiny_info.splits["train"]})
        with pytest.raises(ValueError, match="No split 'val'.*It has: train"):
            train(TINY, info, tmp_path / "run", report=quiet)

    def test_a_loss_that_is_not_finite_stops_and_keeps_the_best_weights(self, tiny_info, tmp_path):
        run = tmp_path / "run"
        experiment = TINY.replace(schedule="piecewise", schedule_boundaries=(2,), schedule_values=(1e30,),
                                  ema_momentum=None, clipnorm=None)
        with pytest.raises(FloatingPointError, match=r"the gradient was NaN or infinite at step 3|loss was .* step 3"
                           r"|cross_entropy was .* step 3"):
            train(experiment, tiny_info, run, report=quiet)
        assert len(history_of(run)) == 1
        assert all(np.isfinite(weight).all() for weight in weights_of(run, BEST_WEIGHTS))
        assert not (run / LAST_WEIGHTS).exists()

    @pytest.mark.parametrize("error", [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "checkpoints/ckpt-1.data; No space left on device"),
    ])
    def test_a_full_disk_is_said_in_words_and_the_run_goes_on_later(self, unbroken, tiny_info, tmp_path, monkeypatch,
                                                                    error):
        def full(*_, **__):
            raise error

        run = tmp_path / "run"
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", full)
            with pytest.raises(OSError, match="The disk is full: could not write .*free some space"):
                train(TINY, tiny_info, run, report=quiet)
        assert Experiment.load(run) == TINY
        if not isinstance(error, OSError):
            train(TINY, tiny_info, run, resume=True, report=quiet)
            assert_same_weights(weights_of(run), weights_of(unbroken[0]))

    def test_data_that_is_removed_meanwhile_changes_nothing(self, unbroken, tiny_folder, tmp_path):
        folder = tmp_path / "data"
        shutil.copytree(tiny_folder, folder)

        def remove(line):
            if line.startswith("epoch 1"):
                shutil.rmtree(folder)

        train(TINY, load_info(folder), tmp_path / "run", report=remove)
        assert not folder.exists()
        assert_same_weights(weights_of(tmp_path / "run"), weights_of(unbroken[0]))
        assert history_of(tmp_path / "run") == history_of(unbroken[0])

    def test_a_damaged_shard_is_named(self, tiny_folder, tmp_path):
        folder = tmp_path / "damaged"
        shutil.copytree(tiny_folder, folder)
        shard = sorted(folder.glob("train-*.tfrecord"))[1]
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(content)
        with pytest.raises(OSError, match=f"(?s){shard.name}.*{folder}"):
            train(TINY, load_info(folder), tmp_path / "run", report=quiet)


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


class TestBuildModel:
    def test_initial_weights_follow_from_the_seed_alone(self):
        first, other = build_model(TINY), build_model(TINY.replace(seed=1))
        tf.random.set_seed(99)
        assert_same_weights([w.numpy() for w in build_model(TINY).weights], [w.numpy() for w in first.weights])
        assert all(np.any(w.numpy() != o.numpy()) for w, o in zip(first.weights, other.weights, strict=True))

    def test_precision_reaches_the_model(self):
        assert build_model(TINY.replace(precision="mixed_bfloat16")).dtype_policy.name == "mixed_bfloat16"


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
