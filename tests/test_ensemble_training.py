"""An ensemble's run: members of their own seeds, one after the other, that survive a kill."""

import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from tf_probunet import callbacks
from tf_probunet.callbacks import read_history
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.ensemble_training import member_experiment, member_folder
from tf_probunet.experiment import Experiment
from tf_probunet.models import UNetEnsemble
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, load_run
from tf_probunet.training import train
from whole_run import assert_same_weights, quiet, weights_of

TINY = Experiment(
    name="tiny", model="unet_ensemble", num_members=2, channels=(4, 8), num_convs=1, combiner_channels=(6,),
    initializer="he_normal", crop_size=(16, 16), batch_size=4, mirror=True, steps=4, steps_per_epoch=2,
    learning_rate=3e-3, ema_momentum=0.5, validation_images=6, validation_samples=3, seed=7,
    precision="float32",
)


def without_seconds(path):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_history(path)]


@pytest.fixture(scope="module")
def unbroken(tiny_info, tmp_path_factory):
    """A whole run of TINY: its folder, model and what it reported."""
    run = tmp_path_factory.mktemp("ensemble") / "run"
    lines = []
    return run, train(TINY, tiny_info, run, report=lines.append), lines


class TestMembers:
    def test_are_plain_runs_with_seeds_of_their_own(self, unbroken, tiny_info, tmp_path):
        run, model, _ = unbroken
        for index in range(2):
            experiment = Experiment.load(member_folder(run, index))
            assert experiment == member_experiment(TINY, index)
            assert (experiment.model, experiment.seed, experiment.steps) == ("deterministic_unet", 14 + index, 4)
        train(member_experiment(TINY, 1), tiny_info, tmp_path / "alone", report=quiet)
        for name in (BEST_WEIGHTS, LAST_WEIGHTS):
            assert_same_weights(weights_of(tmp_path / "alone", name), weights_of(member_folder(run, 1), name))
        assert_same_weights(weights_of(tmp_path / "alone", BEST_WEIGHTS),
                            [weight.numpy() for weight in model.members[1].weights])

    def test_of_two_ensembles_none_is_the_same(self):
        seeds = [member_experiment(TINY.replace(seed=seed), index).seed for seed in range(3) for index in range(2)]
        assert len(set(seeds)) == 6

    def test_differ_in_weights_and_in_what_they_saw(self, unbroken):
        run, model, _ = unbroken
        first, second = ([weight.numpy() for weight in member.weights] for member in model.members)
        assert all(np.any(one != other) for one, other in zip(first, second, strict=True))
        losses = [[row["cross_entropy"] for row in read_history(member_folder(run, index) / "history.csv")]
                  for index in range(2)]
        assert losses[0] != losses[1]


class TestRun:
    def test_is_one_as_of_any_model(self, unbroken):
        run, model, _ = unbroken
        experiment, loaded = load_run(run)
        assert experiment == TINY and isinstance(loaded, UNetEnsemble)
        assert_same_weights([weight.numpy() for weight in loaded.weights], [weight.numpy() for weight in model.weights])
        images = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
        np.testing.assert_array_equal(loaded.sample(images, 2), model.sample(images, 2))
        last = [weight for index in range(2) for weight in weights_of(member_folder(run, index))]
        assert_same_weights(weights_of(run), last)

    def test_history_is_what_the_ensemble_scores(self, unbroken, tiny_info):
        run, model, _ = unbroken
        (row,) = read_history(run / "history.csv")
        assert (row["epoch"], row["step"]) == (2, 4) and row["seconds"] > 0 and "val_kl" not in row
        validation = callbacks.Validation(evaluation_dataset(tiny_info, "val", 4, crop_size=(16, 16), limit=6), 3, 7)
        validation.set_model(model)
        found = {}
        validation.on_epoch_end(0, found)
        assert {name: row[name] for name in found} == pytest.approx(found, rel=1e-5)

    def test_it_tells_which_member_is_at_work(self, unbroken):
        lines = [line for line in unbroken[2] if " step " not in line]
        assert lines[0].startswith("tiny: 2 members of ") and lines[-1].startswith("ensemble: validation cross-entropy")
        assert [line[:15] for line in lines[1:-1]] == 3 * ["member 1 of 2: "] + 3 * ["member 2 of 2: "]
        assert "KL" not in "".join(lines)


class TestResume:
    @pytest.mark.parametrize("member, step", [(0, 3), (1, 1), (1, 3)])
    def test_goes_on_as_if_unbroken(self, unbroken, tiny_info, tmp_path, monkeypatch, member, step):
        run, lines = tmp_path / "run", []

        def on_train_batch_end(self, batch, logs=None):
            self.step += 1
            if self.step == step and member_folder(run, member).is_dir():
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Progress, "on_train_batch_end", on_train_batch_end)
            with pytest.raises(KeyboardInterrupt):
                train(TINY, tiny_info, run, report=quiet)
        with pytest.raises(FileNotFoundError, match="no best.weights.h5 yet: .* not every member. .*--resume"):
            load_run(run)
        train(TINY, tiny_info, run, resume=True, report=lines.append)
        assert ("member 1 of 2: whole." in lines) == (member == 1)
        assert f"member {member + 1} of 2: Resuming {member_folder(run, member)} at step {step // 2 * 2} of 4." in lines
        for name in (BEST_WEIGHTS, LAST_WEIGHTS):
            assert_same_weights(weights_of(run, name), weights_of(unbroken[0], name))
        for path in ("history.csv", "member_00/history.csv", "member_01/history.csv"):
            for row, expected in zip(*map(without_seconds, (run / path, unbroken[0] / path)), strict=True):
                assert row == pytest.approx(expected, rel=1e-5)  # means, whose sums threads may order otherwise

    def test_a_member_that_was_killed_before_it_began_begins(self, unbroken, tiny_info, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        for name in ("data.json", "experiment.json"):
            (run / name).write_bytes((unbroken[0] / name).read_bytes())
        member_folder(run, 0).mkdir()
        (member_folder(run, 0) / "data.json").write_text("{")
        train(TINY, tiny_info, run, resume=True, report=quiet)
        assert_same_weights(weights_of(run), weights_of(unbroken[0]))

    def test_a_finished_run_stays_as_it_is(self, unbroken, tiny_info):
        run, before, lines = unbroken[0], weights_of(unbroken[0]), []
        history = read_history(run / "history.csv")
        train(TINY, tiny_info, run, resume=True, report=lines.append)
        assert [line for line in lines if "whole" in line] == ["member 1 of 2: whole.", "member 2 of 2: whole."]
        assert_same_weights(weights_of(run), before)
        assert read_history(run / "history.csv") == [pytest.approx(row, rel=1e-5) for row in history]


class TestShared:
    """Several processes, one run folder."""

    @pytest.mark.parametrize("killed", [False, True])
    def test_each_trains_what_no_other_does(self, unbroken, tiny_info, tmp_path, killed):
        run, lines = tmp_path / "run", []
        code = (  # stops in its first member, until it is told to go on
            "import json, sys\n"
            "from tf_probunet import callbacks\n"
            "from tf_probunet.data.dataset import load_info\n"
            "from tf_probunet.experiment import Experiment\n"
            "from tf_probunet.training import train\n"
            "def report(line):\n"
            "    print(line, flush=True)\n"
            "    if 'member 1 of 2: epoch 1' in line: sys.stdin.readline()\n"
            "experiment = Experiment().replace(**json.loads(sys.argv[1]))\n"
            "train(experiment, load_info(sys.argv[2]), sys.argv[3], report=report)\n"
        )
        fields = json.dumps(dataclasses.asdict(TINY))

        def report(line):
            lines.append(line)
            if line.startswith("Waiting for"):
                if killed:
                    other.send_signal(signal.SIGKILL)
                else:
                    print("go on", file=other.stdin, flush=True)

        with subprocess.Popen([sys.executable, "-c", code, fields, tiny_info.folder, run], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            told = []
            for line in other.stdout:
                told.append(line)
                if "member 1 of 2: epoch 1" in line:
                    break
            model = train(TINY, tiny_info, run, resume=True, report=report)
            told += other.stdout
        assert lines.count("Waiting for member 1 of 2, which another process is training.") == 1
        epochs = [line[:22] for line in lines if "epoch" in line]
        first, second = ([f"member {member} of 2: epoch {epoch}" for epoch in (1, 2)] for member in (1, 2))
        if killed:
            assert other.returncode == -signal.SIGKILL and epochs[:2] == second
            assert set(epochs[2:]) <= set(first) and epochs[2:]
        else:
            assert other.returncode == 0 and epochs == second
            assert [line[:22] for line in told if "epoch" in line] == first
            assert "member 2 of 2: whole.\n" in told and "member 1 of 2: whole." in lines
        assert_same_weights([weight.numpy() for weight in model.weights], weights_of(unbroken[0], BEST_WEIGHTS))
        for name in (BEST_WEIGHTS, LAST_WEIGHTS):
            assert_same_weights(weights_of(run, name), weights_of(unbroken[0], name))


class TestRefused:
    def test_a_changed_experiment(self, unbroken, tiny_info):
        with pytest.raises(ValueError, match="differs in num_members: 2 here, 3 there"):
            train(TINY.replace(num_members=3), tiny_info, unbroken[0], resume=True, report=quiet)

    def test_a_run_over_another(self, unbroken, tiny_info):
        with pytest.raises(FileExistsError, match="already exists. Use --resume"):
            train(TINY, tiny_info, unbroken[0], report=quiet)

    def test_what_does_not_fit_leaves_no_folder(self, tiny_info, tmp_path):
        for changes in ({"num_classes": 3}, {"num_members": 0}, {"crop_size": (64, 64)}):
            with pytest.raises(ValueError):
                train(TINY.replace(**changes), tiny_info, tmp_path / "run", report=quiet)
            assert not (tmp_path / "run").exists()
