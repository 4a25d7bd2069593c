"""What training refuses, and what it does when disk, data or numbers fail it."""

import dataclasses
import errno
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.alone import alone
from tf_probunet.checkpoints import Checkpoints
from tf_probunet.data.dataset import load_info
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, changed_facts
from tf_probunet.training import train
from whole_run import TINY, assert_same_weights, history_of, quiet, weights_of


class TestRefused:
    def test_a_run_is_never_started_over_another(self, unbroken, tiny_info):
        before = weights_of(unbroken[0])
        with pytest.raises(FileExistsError, match="already exists. Use --resume to go on with it, or choose another"):
            train(TINY, tiny_info, unbroken[0], report=quiet)
        assert_same_weights(weights_of(unbroken[0]), before)

    def test_two_processes_never_train_in_one_folder(self, unbroken, tiny_info, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(unbroken[0], run)
        (run / LAST_WEIGHTS).unlink()  # it has something to do
        with alone(run), pytest.raises(BlockingIOError, match=f"Another process is training in {run}. Wait for it"):
            train(TINY, tiny_info, run, resume=True, report=quiet)
        assert not (run / LAST_WEIGHTS).exists()
        train(TINY, tiny_info, run, resume=True, report=quiet)
        assert_same_weights(weights_of(run), weights_of(unbroken[0]))

    def test_what_a_kill_left_before_the_run_began_is_no_run(self, unbroken, tiny_info, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        for name in ("data.json", ".data.json.partial-999999999", ".experiment.json.partial-999999999", ".lock"):
            (run / name).write_text("{")
        train(TINY, tiny_info, run, report=quiet)
        assert_same_weights(weights_of(run), weights_of(unbroken[0]))
        assert not list(run.glob(".*partial*"))

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

    def test_corrected_data_is_other_data(self, unbroken, tiny_info):
        splits = json.loads(json.dumps(tiny_info.splits))
        splits["train"]["shards"][0]["sha256"] = "0" * 64  # one mask, say
        with pytest.raises(ValueError, match="was started with another dataset than .* differs in content_sha256. Give"):
            train(TINY, dataclasses.replace(tiny_info, splits=splits), unbroken[0], resume=True, report=quiet)

    def test_facts_from_before_contents_were_noted_tell_nothing_of_them(self, tiny_info):
        facts = json.loads(json.dumps(tiny_info.facts()))
        assert changed_facts(facts, tiny_info) == []
        del facts["content_sha256"]
        assert changed_facts(facts, tiny_info) == []
        assert changed_facts(facts | {"licence": "other"}, tiny_info) == ["licence"]

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
            with pytest.raises(OSError, match="disk is full: could not write .*run. Its last checkpoint is kept; free "
                               "some space and go on by the same command with --resume"):
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
