"""Images a second of two processes with a core each against one process with one core.

    python benchmarks/devices.py --output benchmarks/results/devices_2_cores.json

Processes are held to their core by the system, exchange gradients over loopback as machines do over a network, and
train as `probunet train` does, but for validation. Two ways to share: each has half of the batch (the same steps,
sooner), or each has a whole one (twice the images a step). Rounds take turns, and the median of each is told, so that a
machine that slows down does so for all.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from report import report

flags.DEFINE_string("data", None, "dataset folder; a small phantom is made if not given")
flags.DEFINE_string("preset", "lidc_small", "preset to train")
flags.DEFINE_integer("batch_size", 24, "of one process; of two together where they share it")
flags.DEFINE_string("precision", "float32", "float32 or mixed_bfloat16")
flags.DEFINE_integer("steps", 8, "training steps timed")
flags.DEFINE_integer("rounds", 3, "how often each is measured")
flags.DEFINE_string("output", None, "JSON file for the figures")
flags.DEFINE_boolean("worker", False, "be one of the processes that are measured; the benchmark starts them")
FLAGS = flags.FLAGS

WARM_UP = 3  # steps: the first holds the compilation
ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3"}


def work():
    """Trains, and tells the seconds of the timed steps on the last line."""
    from tf_probunet.build import build_model, build_optimizer
    from tf_probunet.data.dataset import load_info
    from tf_probunet.data.reading import training_dataset
    from tf_probunet.devices import find_devices
    from tf_probunet.presets import preset

    devices = find_devices(report=lambda line: None)
    experiment = preset(FLAGS.preset).replace(batch_size=FLAGS.batch_size, precision=FLAGS.precision)
    data = load_info(FLAGS.data).with_window(experiment.window)
    with devices.scope():
        model = build_model(experiment)
        model.compile(build_optimizer(experiment))

    def batches(part, pieces):
        return training_dataset(data, "train", FLAGS.batch_size, crop_size=experiment.crop_size,
                                augmentation=experiment.augmentation, part=part, pieces=pieces)

    batches = devices.distribute(batches)
    model.fit(batches, steps_per_epoch=WARM_UP, verbose=0)
    model.make_train_function()
    iterator = iter(batches)
    float(model.train_function(iterator)["loss"])  # the pipeline is at work
    start = time.perf_counter()
    for _ in range(FLAGS.steps):
        logs = model.train_function(iterator)
    float(logs["loss"])
    print(json.dumps({"seconds": time.perf_counter() - start, "parameters": model.count_params()}), flush=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return opened.getsockname()[1]


def measure(data, num_processes, batch_size):
    """What the first of some processes, each held to a core, tells."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(num_processes)]
    cores = sorted(os.sched_getaffinity(0))
    processes = []
    for index in range(num_processes):
        environment = {**os.environ, **ONE_CORE, "TF_CONFIG": json.dumps(
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})}
        processes.append(subprocess.Popen(
            [sys.executable, __file__, "--worker", f"--data={data}", f"--preset={FLAGS.preset}",
             f"--precision={FLAGS.precision}", f"--batch_size={batch_size}", f"--steps={FLAGS.steps}"],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda core=cores[index]: os.sched_setaffinity(0, {core})))
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"A process ended with exit code {process.returncode}:\n{errors[-3000:]}")
    found = json.loads(outputs[0][0].splitlines()[-1])
    return {**found, "images_a_second": FLAGS.steps * batch_size / found["seconds"]}


def main(_):
    if FLAGS.worker:
        work()
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("This benchmark needs two cores. Received: one.")
    with tempfile.TemporaryDirectory() as folder:
        data = FLAGS.data
        if data is None:
            from tf_probunet.data.phantom import prepare_phantom

            data = Path(folder) / "phantom"
            prepare_phantom(data, num_train=48, num_val=8)
        kinds = {"one process": (1, FLAGS.batch_size), "two share its batch": (2, FLAGS.batch_size),
                 "two with a batch each": (2, 2 * FLAGS.batch_size)}
        rounds = {name: [] for name in kinds}
        for _ in range(FLAGS.rounds):
            for name, (num_processes, batch_size) in kinds.items():
                rounds[name].append(measure(data, num_processes, batch_size))
    speed = {name: statistics.median(found["images_a_second"] for found in rounds[name]) for name in kinds}
    first = rounds["one process"][0]
    report({
        "preset": FLAGS.preset, "precision": FLAGS.precision, "parameters": first["parameters"],
        "batch_size": FLAGS.batch_size, "steps": FLAGS.steps, "rounds": FLAGS.rounds,
        "images_a_second": {name: round(value, 3) for name, value in speed.items()},
        "times_one_process": {name: round(value / speed["one process"], 3) for name, value in speed.items()},
        "each_round": {name: [round(found["images_a_second"], 3) for found in rounds[name]] for name in kinds},
    }, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
