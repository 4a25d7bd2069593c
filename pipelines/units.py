"""Units of work on Apache Beam: several processes of this machine by default, any runner by Beam's own flags."""

import contextlib
import os
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
        make: can be pickled; `make(unit)` does a unit and leaves its result in a file; `make.finished(unit)` tells
            whether that is whole, `make.attempted(unit)`, which is quicker, whether it is there.
        units: `tf_probunet.data.parts.Unit`.
        progress: called with (units done, units in all).
        num_processes: worker processes of the direct runner; as many as there are cores if not given.
        beam_flags: Beam's own flags, such as "--runner=FlinkRunner"; they go before ours.
    Raises:
        ImportError: apache-beam is absent.
        OSError: the disk is full.
    """
    units = [unit for unit in units if not make.finished(unit)]
    if not units:
        return
    num_processes = min(num_processes or len(os.sched_getaffinity(0)), len(units))
    if num_processes == 1 and not beam_flags:  # a worker process beside this one would only have to start
        run_serially(make, units, progress)
        return
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ImportError(
            "Preparing with several processes needs Apache Beam: pip install 'tf_probunet[beam]'. Or use one: "
            "--num_processes 1."
        ) from error
    flags = list(beam_flags)
    if not any(flag.startswith("--runner") for flag in flags):
        # By its full name: "DirectRunner" may choose Prism, which downloads a binary.
        flags += ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
                  "--direct_running_mode=multi_processing", f"--direct_num_workers={num_processes}"]
    with _watch(make, units, progress), disk_errors("the parts"):
        with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
            _ = (
                pipeline
                | "Units" >> beam.Create(units)
                | "Share out" >> beam.Reshuffle()
                | "Make" >> beam.Map(make)
            )


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
