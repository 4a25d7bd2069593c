"""Which process does units of work."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from tf_probunet.data.units import Unit
from tf_probunet.pipelines.units import run_on_beam


@dataclasses.dataclass(frozen=True)
class ProcessNamer:
    """Leaves the id of the process that did a unit."""

    folder: str
    units_worth_workers: int

    def path(self, unit):
        return Path(self.folder) / f"{unit.name}.json"

    def attempted(self, unit):
        return json.loads(self.path(unit).read_text()) if self.path(unit).is_file() else None

    def __call__(self, unit):
        self.path(unit).write_text(json.dumps({"process": os.getpid()}))


@pytest.mark.parametrize("units_worth_workers, here", [(4, True), (3, False)])
def test_few_units_are_done_in_this_process(units_worth_workers, here, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # so that workers find `ProcessNamer`
    make, units = ProcessNamer(str(tmp_path), units_worth_workers), [Unit(f"unit{index}", None) for index in range(3)]
    seen = []
    run_on_beam(make, units, lambda done, total: seen.append((done, total)), num_processes=2)
    assert seen[-1] == (3, 3)
    assert {make.attempted(unit)["process"] == os.getpid() for unit in units} == {here}


def test_what_a_unit_is_given_reaches_the_worker_and_nothing_is_left_behind(tmp_path, monkeypatch):
    """Units travel as files; a worker gets all of one, also what its fingerprint leaves out."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    make = GivenKeeper(str(tmp_path))
    units = [Unit(f"unit{index}", None, given={"index": index}) for index in range(3)]
    run_on_beam(make, units, num_processes=2)
    assert [make.attempted(unit) for unit in units] == [unit.given for unit in units]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"unit{index}.json" for index in range(3)), "workers.log"]


@dataclasses.dataclass(frozen=True)
class GivenKeeper(ProcessNamer):
    """Leaves what the unit was given."""

    units_worth_workers: int = 2

    def __call__(self, unit):
        self.path(unit).write_text(json.dumps(unit.given))
