"""A run that was stopped, whenever and however, goes on as if it had not been."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from tf_probunet import callbacks
from tf_probunet.data.dataset import load_info
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, load_run
from tf_probunet.training import train
from whole_run import TINY, assert_same_weights, history_of, quiet, weights_of


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
