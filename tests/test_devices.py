"""Several devices or processes train what one does; who dies is named, and a restart ends as if nobody had."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tf_probunet import devices as devices_module
from tf_probunet.callbacks import read_history
from tf_probunet.data.augment import Augmentation
from tf_probunet.data.reading import training_dataset
from tf_probunet.devices import Devices, find_devices
from tf_probunet.presets import preset
from tf_probunet.tf_config import read_tf_config

HERE = Path(__file__).parent
# Crops of two sizes; a clipnorm that cuts every gradient, and moving averages: clipping each replica's share by itself
# would be seen.
FIELDS = {
    "preset": "demo", "channels": "4,8", "num_convs": "1", "latent_dim": "2", "combiner_channels": "6",
    "crop_size": "16,16", "crop_scales": "1,0.5", "batch_size": "12", "steps": "4", "steps_per_epoch": "2",
    "clipnorm": "1", "ema_momentum": "0.5", "validation_images": "3", "validation_samples": "2", "precision": "float32",
}
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
LIMIT = 240  # seconds for any process


def command(folder, run, *arguments, options=None, **fields):
    flags = [part for name, value in {**FIELDS, **fields}.items() for part in (f"--{name}", value)]
    return [sys.executable, HERE / "device_worker.py", json.dumps(options or {}), "train", "--data", folder, "--run",
            run, *flags, *arguments]


def finish(processes):
    """Exit code and output of each; none is left behind."""
    try:
        return [(process, process.communicate(timeout=LIMIT)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def together(commands):
    """Runs the processes of one training on this machine: (exit code, output) of each."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in commands]
    addresses = [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    processes = []
    for index, words in enumerate(commands):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(subprocess.Popen(words, env={**QUIET, "TF_CONFIG": json.dumps(config)}, text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    return [(process.returncode, output) for process, output in finish(processes)]


def alone(words):
    (process, output), = finish([subprocess.Popen(words, env=QUIET, text=True, stdout=subprocess.PIPE,
                                                  stderr=subprocess.STDOUT)])
    return process.returncode, output


def weights(path):
    """All arrays of a weights file by name, without what metrics have counted."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: value for name, value in found.items() if "tracker" not in name}


def assert_same_run(run, other, exactly=False):
    for name in ("last.weights.h5", "best.weights.h5"):
        ours, theirs = weights(run / name), weights(other / name)
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            if exactly:
                np.testing.assert_array_equal(value, theirs[key], err_msg=key)
            else:  # six digits
                np.testing.assert_allclose(value, theirs[key], rtol=1e-5, atol=1e-6, err_msg=key)
    for row, expected in zip(read_history(run / "history.csv"), read_history(other / "history.csv"), strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**expected, "seconds": 0}, rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.fixture(scope="module")
def one(tiny_folder, tmp_path_factory):
    """The run of one device."""
    run = tmp_path_factory.mktemp("devices") / "one"
    status, output = alone(command(tiny_folder, run))
    assert status == 0, output[-2000:]
    return run


@pytest.fixture(scope="module")
def two_processes(tiny_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("devices") / "two"
    results = together([command(tiny_folder, run)] * 2)
    assert [status for status, _ in results] == [0, 0], [output[-2000:] for _, output in results]
    return run, [output for _, output in results]


class TestOneMachine:
    def test_four_devices_train_what_one_does(self, one, tiny_folder, tmp_path):
        status, output = alone(command(tiny_folder, tmp_path / "run", "--devices", "4", options={"virtual": 4}))
        assert status == 0, output[-2000:]
        assert "4 steps, float32, 4 devices." in output
        assert_same_run(tmp_path / "run", one)

    def test_every_model_takes_the_same_steps(self):
        """Dropout masks, noise and GECO are those of the whole batch."""
        fields = [{"model": "dropout_unet", "accumulation_steps": 2}, {"model": "mheads_unet"},
                  {"geco_kappa": 0.3, "topk_fraction": 0.5, "accumulation_steps": 2, "num_posterior_samples": 2}]
        done = subprocess.run([sys.executable, HERE / "device_steps.py", json.dumps(fields)], env=QUIET, text=True,
                              capture_output=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout.splitlines()[-1])
        assert len(found) == len(fields)
        for each in found:
            assert each["weights"] < 1e-6 and each["logs"] < 1e-5


class TestSeveralProcesses:
    def test_two_train_what_one_does(self, one, two_processes):
        assert_same_run(two_processes[0], one)

    def test_three_train_what_one_does(self, one, tiny_folder, tmp_path):
        results = together([command(tiny_folder, tmp_path / "run", "--resume_if_started")] * 3)
        assert [status for status, _ in results] == [0, 0, 0], [output[-2000:] for _, output in results]
        assert_same_run(tmp_path / "run", one)

    def test_the_chief_alone_tells_and_writes(self, two_processes):
        run, (chief, other) = two_processes
        assert "2 replicas on 2 processes" in chief and "epoch 2: " in chief
        assert "Process 1 of 2" in other and "epoch" not in other
        assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-00000002", "step-00000004"}
        assert not [path for path in run.rglob("*") if "partial" in path.name]

    def test_who_dies_is_named_and_a_restart_ends_as_if_nobody_had(self, two_processes, tiny_folder, tmp_path):
        """First the one, then the other, by the same command each time, as Kubernetes restarts it."""
        run = tmp_path / "run"
        words = command(tiny_folder, run, "--resume_if_started")
        for victim, step, resumed in ((1, 1, None), (0, 3, "step 0 of 4"), (None, None, "step 2 of 4")):
            commands = [words, words]
            if victim is not None:
                commands[victim] = command(tiny_folder, run, "--resume_if_started", options={"kill_at": step})
            results = together(commands)
            if resumed:
                assert f"Resuming {run} at {resumed}" in results[0][1]
            if victim is not None:
                status, output = results[1 - victim]
                assert results[victim][0] == -9 and status == 1
                assert f"Lost process {victim} (127.0.0.1:" in output and "--resume_if_started" in output
        assert [status for status, _ in results] == [0, 0], [output[-2000:] for _, output in results]
        assert_same_run(run, two_processes[0], exactly=True)

    def test_a_run_goes_on_on_another_number_of_devices(self, one, tiny_folder, tmp_path):
        status, output = alone(command(tiny_folder, tmp_path / "run", options={"kill_at": 3}))
        assert status == -9, output[-2000:]
        status, output = alone(command(tiny_folder, tmp_path / "run", "--resume", "--devices", "2",
                                       options={"virtual": 2}))
        assert status == 0 and "at step 2 of 4" in output, output[-2000:]
        assert_same_run(tmp_path / "run", one)

    def test_processes_that_do_not_agree_say_so(self, tiny_folder, tmp_path):
        results = together([command(tiny_folder, tmp_path / "run"),
                            command(tiny_folder, tmp_path / "run", seed="5")])
        for status, output in results:
            assert status == 1 and "do not agree on what to train" in output, output[-2000:]

    def test_what_the_chief_refuses_ends_the_others(self, one, tiny_folder):
        results = together([command(tiny_folder, one)] * 2)
        assert [status for status, _ in results] == [1, 1]
        assert "already exists. Use --resume" in results[0][1]
        assert "The chief, 127.0.0.1:" in results[1][1] and "has stopped" in results[1][1]


class TestParts:
    @pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5, 1.0)])  # batches of 6 or 24
    def test_parts_are_the_whole_batch(self, tiny_info, scales):
        def batches(number, **options):
            dataset = training_dataset(tiny_info, "train", 6, crop_size=(16, 16), crop_scales=scales, seed=3, start_step=3,
                                       augmentation=Augmentation(mirror=True, rotation=90.0), **options)
            return list(dataset.take(number).as_numpy_iterator())

        parts = [batches(5, part=(index, 3)) for index in range(3)]
        pieces = [batches(10, part=(index, 3), pieces=2) for index in range(3)]
        for number, whole in enumerate(batches(5)):
            for place in range(2):  # images, segmentations
                np.testing.assert_array_equal(np.concatenate([part[number][place] for part in parts]), whole[place])
                both = [piece[2 * number + half][place] for piece in pieces for half in range(2)]
                np.testing.assert_array_equal(np.concatenate(both), whole[place])

    @pytest.mark.parametrize("part", [(1, 1), (-1, 2), (0, 0)])
    def test_a_part_that_is_none_is_refused(self, tiny_info, part):
        with pytest.raises(ValueError, match=r"part is \(index, number of parts\), with .* Received"):
            training_dataset(tiny_info, "train", 6, crop_size=(16, 16), part=part)

    def test_parts_that_are_not_equal_are_refused(self, tiny_info):
        with pytest.raises(ValueError, match="A batch of 6 crops of 16x16 cannot be cut into 4 equal pieces"):
            training_dataset(tiny_info, "train", 6, crop_size=(16, 16), part=(0, 2), pieces=2)


class TestAsked:
    def test_one_device_needs_no_strategy(self):
        for asked in (None, 1, "1", ["CPU:0"]):
            devices = find_devices(asked)
            assert devices.strategy is None and devices.chief and devices.num_replicas == 1

    @pytest.mark.parametrize("asked, message", [
        ("64", "--devices 64 are more than this machine has. Received: 64; it has 1 CPU. Its cores work together"),
        ("0", "--devices must be a number of at least 1, or all. Received: '0'"),
        ("many", "--devices must be a number of at least 1, or all. Received: 'many'"),
        (["GPU:7"], r"devices must be among those of this machine. Received: \['GPU:7'\]. It has \['CPU:0'\]"),
    ])
    def test_what_is_not_there_is_refused(self, asked, message):
        with pytest.raises(ValueError, match=message):
            find_devices(asked)

    def test_a_batch_must_be_shared_equally(self):
        class Three(Devices):
            num_replicas = 3

        experiment = preset("demo").replace(crop_scales=(1.0,))
        Three().check_batches(experiment.replace(batch_size=6))
        with pytest.raises(ValueError, match="Received: batch_size 32 for 3 devices. Set --batch_size 33, or"):
            Three().check_batches(experiment.replace(batch_size=32))

    @pytest.mark.parametrize("batch_size", [24, 25, 40])
    def test_so_must_larger_crops_of_which_there_are_fewer(self, batch_size):
        class Four(Devices):
            num_replicas = 4

        experiment = preset("lidc_small").replace(batch_size=batch_size)
        with pytest.raises(ValueError, match=rf"size {batch_size}, which makes batches of .* crops, for 4") as caught:
            Four().check_batches(experiment)
        proposed = int(re.search(r"Set --batch_size (\d+)", str(caught.value))[1])
        Four().check_batches(experiment.replace(batch_size=proposed))  # the remedy is one

    def test_one_that_is_named_is_that_one(self, monkeypatch):
        made = []
        monkeypatch.setattr(devices_module, "_local_devices", lambda: ("GPU", ["GPU:0", "GPU:1"]))
        monkeypatch.setattr(devices_module, "_mirrored", lambda names: made.append(names))
        assert find_devices(["GPU:0"]).strategy is None and made == []  # where TensorFlow puts a model anyhow
        find_devices(["GPU:1"])
        find_devices(["CPU:0"])
        assert made == [("GPU:1",), ("CPU:0",)]


class TestTfConfig:
    WORKERS = {"worker": ["host0:2222", "host1:2222"]}

    def read(self, cluster, **task):
        return read_tf_config(json.dumps({"cluster": cluster, "task": task}))

    def test_none_and_one_process_are_no_cluster(self):
        assert read_tf_config("") is None and read_tf_config("{}") is None
        assert self.read({"worker": ["host0:2222"]}, type="worker", index=0) is None

    def test_workers_are_counted_after_the_chief(self):
        assert self.read(self.WORKERS, type="worker", index=1).index == 1
        found = self.read({"chief": ["boss:1"], **self.WORKERS}, type="worker", index=1)
        assert found.addresses == ("boss:1", "host0:2222", "host1:2222") and found.index == 2
        assert found.tasks[2] == "/job:worker/replica:0/task:1"

    @pytest.mark.parametrize("text, message", [
        ("{", "it cannot be read"),
        ("[1]", "it cannot be read"),
        ('{"cluster": {"worker": 3}}', "it cannot be read"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}}', "jobs other than chief and worker: ps"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "an address comes twice"),
        ('{"cluster": {"worker": ["a:1", "b"]}}', "'b' is no host:port"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "task worker 2 is not in"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "boss", "index": 0}}', "task boss 0 is not in"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "chief": ["c:1", "d:1"]}}', "it has 2 chiefs"),
    ])
    def test_what_does_not_fit_is_said(self, text, message):
        with pytest.raises(ValueError, match=f"TF_CONFIG does not fit: .*{message}") as caught:
            read_tf_config(text)
        assert f"Received: {text}" in str(caught.value) and "Expected for instance TF_CONFIG=" in str(caught.value)
