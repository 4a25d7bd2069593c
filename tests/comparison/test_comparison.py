"""A comparison from its plan to its records: what is kept, what goes on after a kill, what is refused."""

import dataclasses
import json
import logging
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from made_up import CONTENT

from tf_probunet.checksums import sha256_of
from tf_probunet.comparison import compare as module
from tf_probunet.comparison.compare import compare
from tf_probunet.comparison.plan import parse_plan
from tf_probunet.comparison.records import read_arrays, read_facts, read_record
from tf_probunet.comparison.state import Settings, load_comparison
from tf_probunet.evaluation import evaluate
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import BEST_WEIGHTS, LAST_WEIGHTS, load_run

NAMES = ["probabilistic-seed0", "heads-4-seed0", "heads-16-seed0", "two-seed0", "probabilistic-seed1"]

SOLO = CONTENT | {"entries": [CONTENT["entries"][0] | {"seeds": [0]}]}  # the first run alone
SOLO_RUN = NAMES[0]


def quiet(_):
    pass


def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing was to be trained")

    monkeypatch.setattr(module, "train", refuse)


def no_evaluation(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing was to be evaluated")

    monkeypatch.setattr(module, "evaluate", refuse)


def assert_same_records(folder, other, name):
    """Figures and pictures to the bit; facts but for the seconds that training took."""
    one, two = read_record(folder / "records" / name), read_record(other / "records" / name)
    for field in dataclasses.fields(one.evaluation):
        np.testing.assert_equal(getattr(one.evaluation, field.name), getattr(two.evaluation, field.name))
    np.testing.assert_equal(one.pictures, two.pictures)
    for name in ("experiment", "data", "evaluation"):
        assert one.facts[name] == two.facts[name]


class TestRecords:
    def test_every_run_is_trained_and_recorded_one_at_a_time(self, tiny_comparison):
        folder, lines = tiny_comparison
        assert [line for line in lines if line.startswith("Run ")] == [
            f"Run {number} of 5: {name}: train, then evaluate." for number, name in enumerate(NAMES, 1)]
        assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(NAMES)
        assert sorted(path.name for path in (folder / "records").iterdir()) == sorted([*NAMES, "cases.npz"])
        assert not list(folder.rglob("*partial*"))

    def test_a_record_tells_what_it_is_of(self, tiny_comparison, tiny_plan, tiny_info, tiny_settings):
        folder, _ = tiny_comparison
        for run in tiny_plan.runs():
            facts = read_facts(folder / "records" / run.name)
            assert Experiment().replace(**facts["experiment"]) == run.experiment
            assert facts["weights_sha256"] == sha256_of(folder / "runs" / run.name / BEST_WEIGHTS)
            assert facts["evaluation"] == {
                "split": "val", "limit": None, "num_cases": 2, "batch_size": 3, "seed": 5,
                "num_samples": run.num_samples, "crop_size": [32, 32]}
            assert facts["data"]["source"] == tiny_info.source and facts["machine"]["cores"] >= 1
            training = facts["training"]
            assert (training["steps"], len(training["history"])) == (4, 2) and training["best_step"] in (2, 4)
            assert training["seconds"] == pytest.approx(sum(row["seconds"] for row in training["history"]))
            _, model = load_run(folder / "runs" / run.name)
            assert training["parameters"] == model.count_params()

    @pytest.mark.parametrize("name, num_samples", [("heads-4-seed0", 4), ("probabilistic-seed1", 16)])
    def test_figures_are_those_of_evaluate(self, tiny_comparison, tiny_info, name, num_samples):
        folder, _ = tiny_comparison
        _, model = load_run(folder / "runs" / name)
        expected = evaluate(model, tiny_info, "val", num_samples=num_samples, seed=5, batch_size=3, crop_size=(32, 32))
        found = read_record(folder / "records" / name).evaluation
        assert list(found.energy_distance) == [count for count in (1, 4, 8, 16) if count <= num_samples]
        for field in dataclasses.fields(expected):
            np.testing.assert_equal(getattr(found, field.name), getattr(expected, field.name))

    def test_all_are_of_the_same_images_and_cases(self, tiny_comparison):
        folder, _ = tiny_comparison
        cases = read_arrays(folder / "records" / "cases.npz")
        assert len(cases["images"]) == 2
        records = [read_record(folder / "records" / name) for name in NAMES]
        for record in records:
            assert record.evaluation.source_ids.tolist() == records[0].evaluation.source_ids.tolist()
            assert record.pictures["source_ids"].tolist() == cases["source_ids"].tolist()
        assert [record.pictures["samples"].shape[1] for record in records] == [16, 4, 16, 16, 16]
        assert ["plane" in record.pictures for record in records] == [False, False, False, True, False]

    def test_plan_settings_and_command_are_kept(self, tiny_comparison, tiny_plan, tiny_settings):
        plan, settings, command = load_comparison(tiny_comparison[0])
        assert (plan.runs(), settings) == (tiny_plan.runs(), tiny_settings) and command.startswith("probunet compare")


    def test_models_one_after_the_other_are_no_retracing(self):
        said, logger = [], tf.get_logger()
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: said.append(record.getMessage())
        logger.addHandler(handler)
        try:
            with module._many_models():
                logger.warning("6 out of the last 11 calls to <f> triggered tf.function retracing.")
                logger.warning("something else")
            logger.warning("5 out of the last 5 calls to <f> triggered tf.function retracing.")
        finally:
            logger.removeHandler(handler)
        assert [message.split()[0] for message in said] == ["something", "5"]


class TestGoingOn:
    def test_what_is_done_is_left_alone(self, copied, tiny_plan, tiny_info, tiny_settings, monkeypatch):
        no_training(monkeypatch)
        no_evaluation(monkeypatch)
        before = {path: path.stat().st_mtime_ns for path in copied.rglob("records/**/*")}
        lines = []
        compare(tiny_plan, tiny_info, copied, tiny_settings, report=lines.append)
        assert lines == [f"Run {number} of 5: {name}: done." for number, name in enumerate(NAMES, 1)]
        assert {path: path.stat().st_mtime_ns for path in copied.rglob("records/**/*")} == before

    def test_records_without_runs_are_done(self, copied, tiny_plan, tiny_info, tiny_settings, monkeypatch):
        no_training(monkeypatch)
        shutil.rmtree(copied / "runs")
        compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet)
        assert not (copied / "runs").exists()

    def test_an_interrupt_between_runs(self, copied, tiny_comparison, tiny_plan, tiny_info, tiny_settings, monkeypatch):
        for name in NAMES[1:]:
            shutil.rmtree(copied / "records" / name)
        shutil.rmtree(copied / "runs" / "two-seed0")

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "train", interrupted)
            with pytest.raises(KeyboardInterrupt):  # the heads are evaluated before
                compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet)
        lines = []
        compare(tiny_plan, tiny_info, copied, tiny_settings, report=lines.append)
        assert [line.split(": ")[2] for line in lines if line.startswith("Run ")] == [
            "done.", "done.", "done.", "train, then evaluate.", "evaluate."]
        assert_same_records(copied, tiny_comparison[0], "two-seed0")

    def test_a_kill_while_training(self, tiny_comparison, tiny_info, tmp_path):
        """A process that is killed without a word leaves what the next one goes on from, as if unbroken."""
        code = (
            "import json, os, signal, sys\n"
            "from tf_probunet import callbacks\n"
            "from tf_probunet.comparison.compare import compare\n"
            "from tf_probunet.comparison.plan import parse_plan\n"
            "from tf_probunet.data.dataset import load_info\n"
            "def patched(self, batch, logs=None):\n"
            "    self.step += 1\n"
            "    if self.step == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
            "callbacks.Progress.on_train_batch_end = patched\n"
            "compare(parse_plan(json.loads(sys.argv[1])), load_info(sys.argv[2]), sys.argv[3])\n"
        )
        folder = tmp_path / "killed"
        done = subprocess.run([sys.executable, "-c", code, json.dumps(SOLO), tiny_info.folder, folder],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        assert not (folder / "records" / SOLO_RUN).exists()
        self.go_on(tiny_comparison, tiny_info, folder, step=2)

    def test_a_stop_between_the_last_epoch_and_the_last_weights(self, tiny_comparison, copied, tiny_info, monkeypatch):
        (copied / "runs" / SOLO_RUN / LAST_WEIGHTS).unlink()
        shutil.rmtree(copied / "records" / SOLO_RUN)
        self.go_on(tiny_comparison, tiny_info, copied, step=4)

    def go_on(self, tiny_comparison, tiny_info, folder, step):
        lines, settings = [], load_comparison(tiny_comparison[0])[1]
        compare(parse_plan(SOLO), tiny_info, folder, settings, report=lines.append)
        assert lines[0] == f"Run 1 of 1: {SOLO_RUN}: go on training, then evaluate."
        assert lines[1].endswith(f"at step {step} of 4.")
        assert_same_records(folder, tiny_comparison[0], SOLO_RUN)

    def test_a_kill_before_the_run_was_more_than_the_facts_of_its_data(self, tiny_comparison, tiny_info, tmp_path):
        run = tmp_path / "out" / "runs" / SOLO_RUN
        run.mkdir(parents=True)
        (run / "data.json").write_text("{")
        (run / ".experiment.json.partial-999999999").write_text("{")
        compare(parse_plan(SOLO), tiny_info, tmp_path / "out", load_comparison(tiny_comparison[0])[1], report=quiet)
        assert_same_records(tmp_path / "out", tiny_comparison[0], SOLO_RUN)

    def test_an_interrupt_while_evaluating_trains_nothing_again(self, copied, tiny_comparison, tiny_plan, tiny_info,
                                                                tiny_settings, monkeypatch):
        shutil.rmtree(copied / "records" / "heads-4-seed0")

        def interrupted(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet, progress=lambda run: interrupted)
        assert not (copied / "records" / "heads-4-seed0").exists()
        no_training(monkeypatch)
        compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet)
        assert_same_records(copied, tiny_comparison[0], "heads-4-seed0")

    def test_only_some_in_this_sitting(self, copied, tiny_plan, tiny_info, tiny_settings):
        for name in ("heads-4-seed0", "heads-16-seed0", "two-seed0"):
            shutil.rmtree(copied / "records" / name)
        lines = []
        compare(tiny_plan, tiny_info, copied, tiny_settings, only=["heads-4-seed0", "two"], report=lines.append)
        assert [line.split(": ")[1] for line in lines if line.startswith("Run ")] == ["heads-4-seed0", "two-seed0"]
        assert not (copied / "records" / "heads-16-seed0").exists()
        with pytest.raises(ValueError, match="Did you mean heads"):
            compare(tiny_plan, tiny_info, copied, tiny_settings, only=["head"], report=quiet)

    def test_a_training_that_fails_keeps_no_other_from_its_turn(self, copied, tiny_plan, tiny_info, tiny_settings,
                                                                monkeypatch):
        for name in NAMES[:2]:
            shutil.rmtree(copied / "records" / name)
        shutil.rmtree(copied / "runs" / NAMES[0])

        def fail(*_, **__):
            raise FloatingPointError("Training stopped: loss is not finite.")

        monkeypatch.setattr(module, "train", fail)
        with pytest.raises(FloatingPointError, match="training of probabilistic-seed0 failed; all else is done"):
            compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet)
        assert (copied / "records" / NAMES[1]).is_dir() and not (copied / "records" / NAMES[0]).exists()

    def test_more_entries_and_seeds_may_come_later(self, copied, tiny_plan, tiny_info, tiny_settings, monkeypatch):
        content = tiny_plan.to_json()
        content["entries"][1]["label"] = "Many heads"
        content["entries"] = content["entries"][:2]
        no_training(monkeypatch)
        compare(parse_plan(content), tiny_info, copied, tiny_settings, report=quiet)
        assert load_comparison(copied)[0].entries[1].label == "Many heads"


class TestShared:
    """Several processes, one comparison."""

    @pytest.mark.parametrize("killed", [False, True])
    def test_each_takes_what_no_other_has_in_hand(self, copied, tiny_comparison, tiny_plan, tiny_info, tiny_settings,
                                                  killed):
        shutil.rmtree(copied / "runs" / "two-seed0")
        for name in ("two-seed0", "heads-4-seed0"):
            shutil.rmtree(copied / "records" / name)
        code = (  # trains one run, in which it stops until it is told to go on
            "import json, sys\n"
            "from tf_probunet.comparison.compare import compare\n"
            "from tf_probunet.comparison.state import load_comparison\n"
            "from tf_probunet.data.dataset import load_info\n"
            "def report(line):\n"
            "    print(line, flush=True)\n"
            "    if line.startswith('epoch 1'): sys.stdin.readline()\n"
            "plan, settings = load_comparison(sys.argv[1])[:2]\n"
            "compare(plan, load_info(sys.argv[2]), sys.argv[1], settings, only=['two'], report=report)\n"
        )
        lines, told = [], []

        def report(line):
            lines.append(line)
            if line.startswith("Waiting for"):
                other.kill() if killed else print("go on", file=other.stdin, flush=True)

        with subprocess.Popen([sys.executable, "-c", code, copied, tiny_info.folder], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            for line in other.stdout:
                told.append(line)
                if line.startswith("epoch 1"):
                    break
            compare(tiny_plan, tiny_info, copied, tiny_settings, report=report)
            told += other.stdout
        assert other.returncode == (-signal.SIGKILL if killed else 0)
        assert "two-seed0: another process has it in hand." in lines
        assert lines.count("Waiting for two-seed0, which another process has in hand.") >= 1
        assert any(line.startswith("epoch") for line in lines) == killed
        recorded = [line[:9] for line in (*lines, *told) if ": energy distance" in line and line.startswith("two")]
        assert recorded == ["two-seed0"]  # by one of them
        for name in ("two-seed0", "heads-4-seed0"):
            assert_same_records(copied, tiny_comparison[0], name)


class TestStale:
    def test_other_settings_are_evaluated_anew_where_weights_are(self, copied, tiny_plan, tiny_info, tiny_settings,
                                                                 monkeypatch):
        no_training(monkeypatch)
        settings = dataclasses.replace(tiny_settings, limit=4)
        with pytest.raises(ValueError, match="probabilistic-seed0 is stale .*limit was None, now 4.*--only leaves it"):
            compare(tiny_plan, tiny_info, copied, settings, only=["heads"], report=quiet)
        lines = []
        compare(tiny_plan, tiny_info, copied, settings, report=lines.append)
        assert lines[0] == "Run 1 of 5: probabilistic-seed0: evaluate anew: limit was None, now 4."
        assert len(read_record(copied / "records" / "heads-4-seed0").evaluation.groups) == 4

    def test_and_refused_where_they_are_not(self, copied, tiny_plan, tiny_info, tiny_settings):
        shutil.rmtree(copied / "runs")
        with pytest.raises(ValueError, match="seed was 5, now 6; and its weights are not in .*Give the settings"):
            compare(tiny_plan, tiny_info, copied, dataclasses.replace(tiny_settings, seed=6), report=quiet)

    def test_other_weights_are_evaluated_anew(self, copied, tiny_plan, tiny_info, tiny_settings):
        runs = copied / "runs"
        shutil.copy(runs / "probabilistic-seed1" / BEST_WEIGHTS, runs / "probabilistic-seed0" / BEST_WEIGHTS)
        lines = []
        compare(tiny_plan, tiny_info, copied, tiny_settings, report=lines.append)
        assert "evaluate anew" in lines[0] and "best.weights.h5 has changed" in lines[0]
        records = [read_record(copied / "records" / f"probabilistic-seed{seed}") for seed in (0, 1)]
        np.testing.assert_array_equal(*[record.evaluation.energy_distance[16] for record in records])

    def test_a_damaged_record_says_what_to_do(self, copied, tiny_plan, tiny_info, tiny_settings):
        path = copied / "records" / "two-seed0" / "record.json"
        path.write_text(path.read_text()[:100])
        with pytest.raises(ValueError, match="two-seed0/record.json cannot be used.*remove its folder"):
            compare(tiny_plan, tiny_info, copied, tiny_settings, report=quiet)


class TestRefused:
    @pytest.mark.parametrize("gone", ["runs", "records", None])
    def test_a_changed_plan_names_the_field(self, copied, tiny_plan, tiny_info, tiny_settings, monkeypatch, gone):
        no_training(monkeypatch)
        if gone:
            shutil.rmtree(copied / gone)
        with pytest.raises(ValueError, match="probabilistic-seed0 was made by another plan.*steps: 4 here, 8 there"):
            compare(tiny_plan.with_base(steps=8), tiny_info, copied, tiny_settings, report=quiet)
        assert load_comparison(copied)[0].base.steps == 4  # what was there is as it was

    def test_a_change_of_one_entry_is_found_before_any_training(self, copied, tiny_plan, tiny_info, tiny_settings,
                                                                monkeypatch):
        no_training(monkeypatch)
        shutil.rmtree(copied / "runs" / "probabilistic-seed0")
        shutil.rmtree(copied / "records" / "probabilistic-seed0")
        content = tiny_plan.to_json()
        content["entries"][1]["by_num_samples"]["16"] = {"num_heads": 12}
        with pytest.raises(ValueError, match="heads-16-seed0 was made by another plan.*num_heads: 16 here, 12 there"):
            compare(parse_plan(content), tiny_info, copied, tiny_settings, report=quiet)

    @pytest.mark.parametrize("gone", ["runs", "records"])
    def test_another_dataset(self, copied, tiny_plan, tiny_info, tiny_settings, gone):
        shutil.rmtree(copied / gone)
        other = dataclasses.replace(tiny_info, source="elsewhere")
        with pytest.raises(ValueError, match="from another dataset than .*differs in source"):
            compare(tiny_plan, other, copied, tiny_settings, report=quiet)

    def test_a_split_that_is_not_there_before_anything_is_made(self, tiny_plan, tiny_info, tmp_path):
        with pytest.raises(ValueError, match="No split 'test'.*It has: train, val"):
            compare(tiny_plan, tiny_info, tmp_path / "out", Settings(split="test"))
        assert not (tmp_path / "out").exists()

    def test_what_is_no_comparison(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Not a comparison.*Begin one with probunet compare --plan"):
            load_comparison(tmp_path)
        (tmp_path / "plan.json").write_text("{}")
        with pytest.raises(ValueError, match="plan.json is damaged or was edited"):
            load_comparison(tmp_path)

