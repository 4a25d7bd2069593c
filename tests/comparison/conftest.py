"""A tiny comparison, trained and recorded for real."""

import fcntl
import json
import os
import shutil

import pytest
from made_up import CONTENT

COMMAND = "probunet compare --plan tiny.json"


@pytest.fixture(scope="session")
def tiny_plan():
    """The plan of `tiny_comparison`."""
    from tf_probunet.comparison.plan import parse_plan

    return parse_plan(CONTENT)


@pytest.fixture(scope="session")
def tiny_settings():
    """The settings of `tiny_comparison`."""
    from tf_probunet.comparison.state import Settings

    return Settings(num_cases=2, batch_size=3, seed=5)


@pytest.fixture(scope="session")
def tiny_comparison(tmp_path_factory, tiny_plan, tiny_info, tiny_settings):
    """Folder of a comparison that came to its end, and the lines that it said. Not to be changed."""
    from tf_probunet.comparison.compare import compare

    # Made once for all test workers: it takes a minute. Their temporary folders lie side by side.
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, said = shared / "comparison" / "tiny", shared / "comparison" / "said.json"
    said.parent.mkdir(exist_ok=True)
    with open(said.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            lines = []
            compare(tiny_plan, tiny_info, folder, tiny_settings, command=COMMAND, report=lines.append)
            said.write_text(json.dumps(lines))
    return folder, json.loads(said.read_text())


@pytest.fixture
def copied(tiny_comparison, tmp_path):
    """A copy of `tiny_comparison`, to be changed."""
    return shutil.copytree(tiny_comparison[0], tmp_path / "copied")
