"""What precision="auto" means, by machine."""

import pytest

from tf_probunet import precision
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import settled


@pytest.mark.parametrize("text, found", [
    ("processor : 0\nflags\t\t: fpu sse avx512f avx512_bf16\n", True),
    ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
    ("Features\t: fp asimd bf16\n", True),
    ("flags\t\t: fpu avx512f avx512_bf16x no_bf16_here\n", False),
    ("", False),
])
def test_processors_are_told_by_their_flags(tmp_path, text, found):
    (tmp_path / "cpuinfo").write_text(text)
    assert precision._cpu_has_bfloat16(tmp_path / "cpuinfo") is found


def test_a_machine_that_tells_nothing_computes_in_float32(tmp_path):
    assert not precision._cpu_has_bfloat16(tmp_path / "none")


@pytest.mark.parametrize("processor, gpus, expected", [
    (True, [], "mixed_bfloat16"), (False, [], "float32"),
    (True, [(7, 5)], "float32"), (False, [(8, 0)], "mixed_bfloat16"), (True, [(9, 0), (7, 0)], "float32"),
])
def test_gpus_decide_where_there_are_any(monkeypatch, processor, gpus, expected):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: processor)
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(precision.tf.config.experimental, "get_device_details",
                        lambda gpu: {"compute_capability": gpu})
    assert precision.resolve_precision("auto") == expected
    assert precision.resolve_precision("float32") == "float32"


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32, mixed_bfloat16. Received: 'half'"):
        precision.resolve_precision("half")


def test_a_run_keeps_what_it_started_with(tmp_path, monkeypatch):
    monkeypatch.setattr("tf_probunet.run_folder.resolve_precision", lambda asked: "mixed_bfloat16")
    assert settled(Experiment(), tmp_path).precision == "mixed_bfloat16"
    Experiment(precision="float32").save(tmp_path)
    assert settled(Experiment(), tmp_path).precision == "float32"
    assert settled(Experiment(precision="mixed_bfloat16"), tmp_path).precision == "mixed_bfloat16"  # to be refused
    assert not Experiment(precision="float32").differences(Experiment())
