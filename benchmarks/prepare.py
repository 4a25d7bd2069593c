"""How fast, how large and how safe `probunet prepare lidc` is: `python benchmarks/prepare.py --output FILE`.

Real UIDs, geometry and annotations, made-up pixels: a few hundred scans with all their slices, of which those that
nobody drew on are headers without pixels, because preparation reads no more of them.
"""

import cProfile
import io
import multiprocessing
import os
import pstats
import random
import shutil
import signal
import statistics
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

from tf_probunet.checksums import sha256_of  # noqa: E402
from tf_probunet.data.pylidc_adapter import read_scans  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_scans", 300, "scans prepared", 4)
flags.DEFINE_integer("repeats", 3, "times that each run is timed, in turn with the others", 1)
flags.DEFINE_integer("num_kills", 10, "times that a preparation is killed", 0)
flags.DEFINE_integer("seed", 0, "of the moments of the kills")
flags.DEFINE_string("archives", None, "folder for the made-up archives, kept for another run; a temporary one if not given")
flags.DEFINE_string("output", None, "JSON for the figures")


def write_scan(folder, scan):
    """A whole series: the annotated slices, and the headers of the others."""
    dicom_files.write_series(folder, scan, unsigned=True)
    annotated = set(dicom_files.annotated(scan))
    header = dicom_files.dataset(scan, min(annotated))
    del header.PixelData
    for number, z_mm in enumerate((z for z in scan.slice_z_mm.tolist() if z not in annotated), len(annotated) + 1):
        header.InstanceNumber = number
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = dicom_files.sop_uid(
            scan.series_instance_uid, number)
        header.ImagePositionPatient[2] = header.SliceLocation = f"{z_mm:.10g}"
        header.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)


def prepare(archive, output, num_processes):
    """Runs the command in a process of its own; returns seconds and peak memory in MiB of its largest process."""
    code = script(archive, output, num_processes)
    start, peak = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.25)
    if process.returncode:
        raise RuntimeError(f"prepare lidc ended with status {process.returncode}")
    return time.perf_counter() - start, peak


def peak_memory(session):
    """Peak memory in MiB, so far, of the largest process of a session; ru_maxrss would tell that of its parent, too."""
    peak = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[3]) == session:
                lines = (folder / "status").read_text().splitlines()
                peak = max(peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
        except (OSError, TypeError):  # it ended meanwhile
            continue
    return peak


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


def kill(archive, folder, seconds, expected):
    """Kills preparations at random moments, each time starting again; returns how many outputs came through at last.

    Raises:
        RuntimeError: one of them differs from what was never killed.
    """
    moments, kills, number = random.Random(FLAGS.seed), 0, 0
    while kills < FLAGS.num_kills:
        output, number = folder / f"killed{number}", number + 1
        code = script(archive, output, 1)
        while not output.is_dir():
            with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
                try:
                    process.wait(moments.uniform(0.3, 1.0) * seconds if kills < FLAGS.num_kills else None)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                    continue
            if process.returncode:  # of itself: it would fail for ever
                raise RuntimeError(f"prepare lidc ended with status {process.returncode}")
        if shards(output) != expected:
            raise RuntimeError(f"{output} differs from the preparation that was never killed.")
    return number


def rate(seconds, few_seconds, scans, few):
    """Scans a minute once a preparation runs: start-up, the same for few and for many, is left out."""
    return 60 * (scans - few) / (seconds - few_seconds)


def main(_):
    scans = [scan for scan in read_scans() if scan.annotations][: FLAGS.num_scans]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        few = len(scans) // 4
        archives = Path(FLAGS.archives or folder)
        if not (archives / "few").is_dir():
            for number, scan in enumerate(scans):
                write_scan(archives / "all" / str(number), scan)
            shutil.copytree(archives / "all", archives / "few", copy_function=os.link,
                            ignore=lambda at, names: names[:0] if Path(at) != archives / "all" else
                            [name for name in names if int(name) >= few])
        warm, text = profile(archives / "few", folder / "profiled")
        seconds, memory, ceilings = {}, {}, []
        for repeat in range(FLAGS.repeats):
            ceilings.append(ceiling())
            for archive in ("few", "all"):
                for processes in (1, 2):
                    shutil.rmtree(folder / f"{archive}{processes}", ignore_errors=True)
                    taken, peak = prepare(archives / archive, folder / f"{archive}{processes}", processes)
                    seconds.setdefault((archive, processes), []).append(taken)
                    memory[archive, processes] = max(peak, memory.get((archive, processes), 0))
        names = {(archive, processes): f"{len(scans) if archive == 'all' else few} scans, {processes} processes"
                 for archive, processes in seconds}
        median = {key: statistics.median(values) for key, values in seconds.items()}
        one, two = (rate(median["all", n], median["few", n], len(scans), few) for n in (1, 2))
        figures = {
            "scans": len(scans), "slices": sum(len(dicom_files.annotated(scan)) for scan in scans),
            "cores": len(os.sched_getaffinity(0)),
            "files": sum(len(scan.slice_z_mm) for scan in scans),
            "scans_a_minute_under_the_profiler": 60 * few / warm,
            "seconds": {names[key]: values for key, values in seconds.items()},
            "scans_a_minute_after_start_one_process": one, "scans_a_minute_after_start_two_processes": two,
            "two_processes_times_as_fast": median["all", 1] / median["all", 2],
            "two_processes_times_as_fast_after_start": two / one,
            "two_processes_times_as_fast_at_work_that_shares_nothing": ceilings,
            "peak_memory_mib": {names[key]: value for key, value in memory.items()},
            "shards_equal": shards(folder / "all1") == shards(folder / "all2"),
        }
        report(figures, FLAGS.output)
        outputs = kill(archives / "few", folder, median["few", 1], shards(folder / "few1"))
        figures |= {"kills": FLAGS.num_kills, "outputs_equal_in_spite_of_kills": outputs}
    print(text)
    report(figures, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
