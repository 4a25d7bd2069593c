"""Units of work on Apache Beam: several processes of this machine by default, any runner by Beam's own flags."""

import contextlib
import functools
import logging
import os
import pickle
import shlex
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence

from tf_probunet.staging import disk_errors


def run_serially(make: Callable, units: Sequence, progress=lambda done, total: None) -> None:
    """Does one unit after the other in this process."""
    for done, unit in enumerate(units, 1):
        make(unit)
        progress(done, len(units))


def run_on_beam(
    make: Callable, units: Sequence, progress=lambda done, total: None, *, num_processes=None, beam_flags=()
) -> None:
    """Does units in any order, each by one call of `make` in a worker process.

    Progress is read from what the workers have finished, so the units' files must lie where this process sees them:
    runners on other machines need a shared file system, for the input and for the output.

    Args:
        make: can be pickled, has a `folder` for the workers' log; `make(unit)` does a unit and leaves its result in a
            file; `make.attempted(unit)` tells whether that is there; fewer units than `make.units_worth_workers` are
            done in this process, unless flags name how.
        units: `tf_probunet.data.units.Unit`.
        progress: called with (units done, units in all).
        num_processes: worker processes of the direct runner; as many as there are cores if not given.
        beam_flags: Beam's own flags, such as "--runner=FlinkRunner"; they go before ours.
    Raises:
        ImportError: apache-beam is absent.
        OSError: the disk is full.
    """
    if not units:
        return
    num_processes = min(num_processes or len(os.sched_getaffinity(0)), len(units))
    if not beam_flags and (num_processes == 1 or len(units) < make.units_worth_workers):  # workers have to start first
        run_serially(make, units, progress)
        return
    with _quiet(), _written(units, make.folder) as paths:
        beam, options, runner = _import_beam(list(beam_flags), num_processes, make.folder)
        with _watch(make, units, progress), disk_errors("the parts"):
            with beam.Pipeline(runner=runner, options=options) as pipeline:
                _ = (
                    pipeline
                    | "Units" >> beam.Create(paths)
                    | "Share out" >> beam.Reshuffle()
                    | "Make" >> beam.Map(functools.partial(_make_written, make))
                )


@contextlib.contextmanager
def _written(units, folder):
    """Paths of files with one unit each: Beam's direct runner holds whatever it passes on in memory, several times."""
    with tempfile.TemporaryDirectory(prefix="units-", dir=folder) as queue:
        paths = [os.path.join(queue, f"{number:06d}.pickle") for number in range(len(units))]
        with disk_errors(folder):
            for path, unit in zip(paths, units, strict=True):
                with open(path, "wb") as file:
                    pickle.dump(unit, file)
        yield paths


def _make_written(make, path):
    with open(path, "rb") as file:
        make(pickle.load(file))


def _import_beam(flags, num_processes, folder):
    """The module, its options, and a runner where the flags name none."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment
    except ImportError as error:
        raise ImportError(
            "Preparing with several processes needs Apache Beam: pip install 'tf_probunet[beam]'. Or use one: "
            "--num_processes 1."
        ) from error
    if any(flag.startswith("--runner") for flag in flags):
        return beam, PipelineOptions(flags), None
    # What "--runner=DirectRunner --direct_running_mode=multi_processing" would choose, but for two things: it is never
    # Prism, which downloads a binary, and what the workers say goes to a file.
    log = shlex.quote(os.path.join(folder, "workers.log"))
    command = f"exec {shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main 2>> {log}"
    runner = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
    return beam, PipelineOptions([*flags, f"--direct_num_workers={num_processes}"]), runner


@contextlib.contextmanager
def _quiet():
    """Without Beam's warnings about clouds that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _watch(make, units, progress):
    """Reports, every second, how many units are done."""
    waiting, stop = list(units), threading.Event()

    def look():
        waiting[:] = [unit for unit in waiting if not make.attempted(unit)]
        progress(len(units) - len(waiting), len(units))

    def run():
        while not stop.wait(1.0):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    look()
