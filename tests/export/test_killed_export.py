"""An export that is killed at any moment leaves no version that does not load, and nothing that stays."""

import multiprocessing
import random
import re
import time

import tensorflow as tf

from tf_probunet.export.manifest import read_manifest
from tf_probunet.export.run import export_run
from tf_probunet.export.version_numbers import version_numbers

KILLS = 20


def test_twenty_kills_leave_only_whole_versions_and_the_next_export_sweeps_the_rest(tiny_run, tmp_path):
    output = tmp_path / "saved_models" / "tiny"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tf_probunet.export.run"])  # or each child would import TensorFlow for seconds

    def start():
        process = context.Process(target=export_run, args=(tiny_run, output))
        process.start()
        return process

    start().join()  # starts the server of forks
    begin = time.monotonic()
    start().join()
    whole = time.monotonic() - begin
    assert version_numbers(output) == [1, 2]
    rng, in_the_middle = random.Random(0), 0
    for _ in range(KILLS):
        process = start()
        time.sleep(rng.uniform(0.1, 1.1) * whole)
        process.kill()
        process.join()
        in_the_middle += any(re.fullmatch(rf"\.\d+\.partial-{process.pid}", path.name) for path in output.iterdir())
        for number in version_numbers(output):
            read_manifest(output / str(number))
    assert in_the_middle >= 3, "the kills were to hit exports while they write"
    version = export_run(tiny_run, output)
    assert sorted(path.name for path in output.iterdir()) == sorted(map(str, version_numbers(output)))
    assert version.name == str(max(version_numbers(output)))
    for number in version_numbers(output):
        assert set(tf.saved_model.load(output / str(number)).signatures) == {"serving_default", "trunk", "combiner"}
