"""How fast, how large and how safe `probunet prepare lidc` is: `python benchmarks/prepare.py --output FILE`.

Real UIDs, geometry and annotations, made-up pixels: a few dozen scans, of each only the annotated slices.
"""

import cProfile
import io
import multiprocessing
import os
import pstats
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from report import report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import dicom_files  # noqa: E402
from tf_probunet.pipelines.prepare_lidc import prepare_lidc  # noqa: E402

from tf_probunet.data.dataset import sha256_of  # noqa: E402
from tf_probunet.data.pylidc_adapter import read_scans  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_scans", 40, "scans prepared", 4)
flags.DEFINE_integer("num_kills", 10, "times that a preparation is killed", 0)
flags.DEFINE_integer("seed", 0, "of the moments of the kills")
flags.DEFINE_string("output", None, "JSON for the figures")


def prepare(archive, output, num_processes):
    """Runs the command in a process of its own; returns seconds and peak memory in MiB of its largest process."""
    code = script(archive, output, num_processes)
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise RuntimeError(f"prepare lidc ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def script(archive, output, num_processes):
    arguments = ["prepare", "lidc", "--dicom", str(archive), "--output", str(output), "--num_processes",
                 str(num_processes)]
    return f"import sys; from tf_probunet.cli.main import main; sys.exit(main({arguments}))"


def shards(folder):
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}


def spin(count):
    return sum(number * number for number in range(count))


def ceiling():
    """How much faster two processes are than one on this machine, at work that shares nothing."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(spin, [1000, 1000])
        start = time.perf_counter()
        spin(12_000_000), spin(12_000_000)
        one = time.perf_counter() - start
        start = time.perf_counter()
        pool.map(spin, [12_000_000, 12_000_000], chunksize=1)
        return one / (time.perf_counter() - start)


def profile(archive, output):
    """Seconds in this process and the functions that took most of them."""
    profiler = cProfile.Profile()
    start = time.perf_counter()
    profiler.runcall(prepare_lidc, archive, output, report=lambda line: None)
    seconds, text = time.perf_counter() - start, io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(12)
    return seconds, text.getvalue()


def kill(archive, output, seconds):
    """Kills preparations at random moments until `num_kills` were, then lets one come through."""
    moments, kills = random.Random(FLAGS.seed), 0
    code = script(archive, output, 1)
    while kills < FLAGS.num_kills:
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(moments.uniform(0.3, 1.0) * seconds)
                break
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
    if not output.is_dir():
        prepare(archive, output, 1)
    return kills


def main(_):
    scans = [scan for scan in read_scans() if 4 <= len(dicom_files.annotated(scan)) <= 24][: FLAGS.num_scans]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        few = len(scans) // 4
        for number, scan in enumerate(scans):
            for archive in ("all", "few") if number < few else ("all",):
                dicom_files.write_series(folder / archive / str(number), scan, unsigned=True)
        warm, text = profile(folder / "all", folder / "profiled")
        small_seconds, small_memory = prepare(folder / "few", folder / "small", 1)
        one_seconds, one_memory = prepare(folder / "all", folder / "one", 1)
        two_seconds, two_memory = prepare(folder / "all", folder / "two", 2)
        kills = kill(folder / "all", folder / "killed", one_seconds)
        figures = {
            "scans": len(scans), "slices": sum(len(dicom_files.annotated(scan)) for scan in scans),
            "cores": len(os.sched_getaffinity(0)),
            "scans_a_minute_and_core_started": 60 * len(scans) / warm,
            "seconds_one_process": one_seconds, "seconds_two_processes": two_seconds,
            "two_processes_times_as_fast": one_seconds / two_seconds,
            "two_processes_times_as_fast_at_work_that_shares_nothing": ceiling(),
            f"peak_memory_mib_{few}_scans": small_memory, f"peak_memory_mib_{len(scans)}_scans": one_memory,
            "peak_memory_mib_two_processes_largest": two_memory,
            "peak_memory_mib_children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            "kills": kills,
            "shards_equal": shards(folder / "one") == shards(folder / "two") == shards(folder / "killed"),
        }
    print(text)
    report(figures, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
