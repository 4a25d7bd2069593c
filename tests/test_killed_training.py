"""A training that is killed at random moments ends as one that was left alone; `benchmarks/killed_training.py` does it
twenty times."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def killed_training(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("killed_training", BENCHMARKS / "killed_training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("report", None)


def test_kills_at_random_moments_change_nothing(killed_training, tiny_folder, tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    killed_training.finish(killed_training.start(tiny_folder, unbroken, 32, resume=False))
    assert killed_training.train_through_kills(tiny_folder, killed, 32, kills=4, seed=1)
    assert killed_training.differences(killed, unbroken) == []
    assert len(killed_training.history(killed)) == 16
