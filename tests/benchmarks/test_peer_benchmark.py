"""The comparison with a peer, without the peer, which needs PyTorch.

Our network is the stated one, and the record, its ratios and tables follow from what was measured.
"""

import importlib
import json
import sys
from pathlib import Path

import keras
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peer"


@pytest.fixture
def load(monkeypatch):
    """Imports a file of the benchmark as the benchmark does: beside the others."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in ("environment", "measuring", "ours", "peer_table"):
        sys.modules.pop(name, None)


def test_our_network_is_the_stated_one(load):
    ours = load("ours")
    model = ours.make_model()
    model.build()
    assert ours.parameters(model) == {"U-Net": 2_260_128, "prior": 1_367_820, "posterior": 1_368_108, "f_comb": 3_426}
    kernels = [
        layer.kernel.shape for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)
    ]
    assert sum(shape[:2] == (3, 3) for shape in kernels) == 3 * (4 + 3) + 2 * 3 * 4  # U-Net; prior and posterior
    combiner = [conv.kernel.shape for conv in (*model.combiner.hidden, model.combiner.logits)]
    assert combiner == [(1, 1, 32 + 6, 32), (1, 1, 32, 32), (1, 1, 32, 32), (1, 1, 32, 2)]
    assert model.latent_dim == 6


def test_batches_are_the_same_each_time_and_hold_both_classes(load):
    measuring = load("measuring")
    first, second = measuring.batches(3, 32)
    again, _ = measuring.batches(3, 32)
    assert first[0].shape == (3, 32, 32, 1) and first[0].dtype == "float32"
    assert first[1].shape == (3, 32, 32) and set(first[1].ravel()) == {0, 1}
    assert (first[0] == again[0]).all() and (first[0] != second[0]).any()


class MadeUp:
    """A contestant whose losses are given."""

    def __init__(self, losses):
        self.losses, self.drawn = losses, []

    def train_step(self, index):
        return self.losses[index]

    def ways(self):
        return {"sample": self.drawn.append}


def test_warm_up_is_not_counted(load):
    measuring = load("measuring")
    case = {"warm_up": 2, "repeats": 3, "started": 90.0, "num_samples": [16, 1]}
    found = measuring.training(MadeUp([1.0] * 6), case, imported=95.0)
    assert len(found["step_seconds"]) == 3
    assert found["first_step_seconds"] - found["first_step_seconds_without_imports"] == pytest.approx(5.0)
    contestant = MadeUp([])
    found = measuring.sampling(contestant, case, imported=95.0)
    assert contestant.drawn == 5 * [16] + 5 * [1]
    assert [len(times) for times in found["milliseconds"]["sample"].values()] == [3, 3]


def test_a_loss_that_is_not_finite_is_refused(load):
    case = {"warm_up": 0, "repeats": 1, "started": 0.0}
    with pytest.raises(FloatingPointError, match="Received: .*nan"):
        load("measuring").training(MadeUp([1.0, float("nan")]), case, 0.0)


ALIKE = {"versions": {"v": "1"}, "parameters": {"U-Net": 1000, "prior": 5}}


def trained(seconds, memory):
    return {"step_seconds": seconds, "peak_memory_mib": memory, "first_step_seconds": 9.0,
            "first_step_seconds_without_imports": 4.0, **ALIKE}


def sampled(**ways):
    return {"milliseconds": {way: {"16": times} for way, times in ways.items()}, "peak_memory_mib": 500.0, **ALIKE}


@pytest.fixture
def played():
    """Two rounds of training, one of samples."""
    train = {"kind": "training", "batch": 12, "size": 128}
    draw = {"kind": "sampling", "batch": 1, "size": 128}
    autocast = "peer, bfloat16 autocast"
    runs = [(train, contestant, trained(seconds, memory)) for contestant, seconds, memory in (
        ("ours, float32", [2.0, 2.0, 9.0], 1000), ("peer, float32", [3.0], 2000),
        ("ours, mixed_bfloat16", [1.0], 700), (autocast, [1.5], 1500),
        ("ours, float32", [2.0], 1200), ("peer, float32", [3.0], 2000),
        ("ours, mixed_bfloat16", [1.0], 700), (autocast, [1.5], 1500),
    )]
    runs += [
        (draw, "ours, float32", sampled(sample=[40.0, 50.0, 60.0])),
        (draw, "peer, float32", sampled(predict_step=[130.0], alone=[100.0])),
        (draw, "ours, mixed_bfloat16", sampled(sample=[25.0])),
    ]
    return [{"case": case, "contestant": contestant, "found": found} for case, contestant, found in runs]


def test_ratios_are_of_medians(load, played):
    found = load("peer_table").figures(played)
    row = found["training"]["12 of 128x128"]["ours, float32"]
    assert row["images_per_second"] == 6.0 and row["images_per_second_by_round"] == [6.0, 6.0]
    assert row["peak_memory_mib"] == 1100
    assert found["ratios"]["training"]["12 of 128x128"] == {
        "ours, float32 over peer, float32": 1.5,
        "ours, float32 over peer, bfloat16 autocast": 0.75,
        "ours, mixed_bfloat16 over peer, float32": 3.0,
        "ours, mixed_bfloat16 over peer, bfloat16 autocast": 1.5,
        "peer, bfloat16 autocast over peer, float32": 2.0,
    }
    assert found["ratios"]["sampling"]["128x128"]["16"] == {  # over the faster of the peer's ways
        "ours, float32 over peer, float32": 2.0, "ours, mixed_bfloat16 over peer, float32": 4.0,
    }


def test_tables_show_the_record(load, played):
    peer_table = load("peer_table")
    lines = peer_table.markdown(peer_table.figures(played)).splitlines()
    for line in (
        "| ours, float32 | 6.0, 1.50 times | 50 ms, 2.00 times | 1,100 MiB | 9.0 s | 4.0 s |",
        "| peer, float32 | 4.0 | 100 ms | 2,000 MiB | 9.0 s | 4.0 s |",
        "| peer, bfloat16 autocast | 8.0, 2.00 times |  | 1,500 MiB | 9.0 s | 4.0 s |",
        "| 12 of 128x128 | 4.0 | 6.0, 1.50 times | 12.0, 3.00 times | 2,000, 1,100, 700 MiB |",
        "| 16 of one 128x128 | 130 | 100 | 50, 2.00 times | 25, 4.00 times |",
        "| all | 1,005 | 1,005 |",
    ):
        assert line in lines, line


def test_an_environment_that_cannot_be_made_is_said_in_words(load, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(OSError, match="(?s)file/venv could not be made.*Received 1, after:.*file.*--peer_python"):
        load("environment").peer_python(in_the_way / "venv", report=lambda text: None)


def test_an_environment_that_is_whole_is_used_again(load, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    (tmp_path / "installed").write_text("")
    said = []
    assert load("environment").peer_python(tmp_path, requirements, said.append) == str(tmp_path / "bin" / "python")
    assert said == []


def test_the_tables_in_docs_are_those_of_the_record(load):
    record = json.loads((FOLDER.parent / "results" / "peer_2_cores.json").read_text())
    *shown, _ = load("peer_table").markdown(record).split("\n\n")  # all but the numbers of parameters
    text = (FOLDER.parents[1] / "docs" / "performance.md").read_text()
    for table in shown:
        assert table in text
