"""Ray Train starts the workers, and again when one is lost; the weights are those of a training on one device."""

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from tf_probunet.cli.main import main

pytest.importorskip("ray.train", reason="needs tf_probunet[ray-train]", exc_type=ImportError)
FIELDS = ["--preset", "demo", "--channels", "4,8", "--num_convs", "1", "--latent_dim", "2", "--combiner_channels", "6",
          "--crop_size", "16,16", "--batch_size", "4", "--steps", "24", "--steps_per_epoch", "2",
          "--validation_images", "2", "--validation_samples", "2", "--precision", "float32"]


def weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: value for name, value in found.items() if "tracker" not in name}


def workers_of(process):
    """Process ids of Ray's training workers that descend from a process."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()[1:]]
    family = {process.pid}
    for _ in range(6):  # driver, raylet, worker
        family |= {int(pid) for pid, parent, _ in rows if int(parent) in family}
    return [int(pid) for pid, _, words in rows if int(pid) in family and "ray::RayTrainWorker" in words]


def test_a_lost_worker_is_replaced_and_nothing_is_lost(tiny_folder, tmp_path):
    flags = ["--data", str(tiny_folder), *FIELDS]
    assert main(["train", *flags, "--run", str(tmp_path / "one")]) == 0
    words = [sys.executable, "-m", "tf_probunet.pipelines.train_on_ray", "--num_workers", "2", "--storage",
             tmp_path / "ray", "--", *flags, "--run", tmp_path / "run"]
    environment = {**os.environ, "RAY_ADDRESS": "local"}  # other tests may have a cluster here
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 240
            while not (tmp_path / "run" / "checkpoints" / "step-00000006").is_dir() and time.monotonic() < deadline:
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.1)
            os.kill(workers_of(process)[-1], signal.SIGKILL)
            assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()[-3000:]
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert "Resuming" in (tmp_path / "log").read_text()
    ours, theirs = weights(tmp_path / "run" / "last.weights.h5"), weights(tmp_path / "one" / "last.weights.h5")
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)
