"""The tables of training steps in docs are what the benchmarks wrote."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_row_is_in_the_benchmarks_files():
    text = (ROOT / "docs" / "performance.md").read_text()
    before, now = (
        json.loads((ROOT / "benchmarks" / "results" / name).read_text())["models"]["probabilistic_unet"]
        for name in ("step_2_cores_before.json", "step_2_cores.json")
    )
    columns = [run[precision] for precision in ("float32", "mixed_bfloat16") for run in (before, now)]

    def row(label, cells):
        assert f"| {label} | {' | '.join(cells)} |" in text, label

    row("a step", [f"{column['step_ms']:.0f} ms" for column in columns])
    row("its convolutions alone", [f"{column['bound_ms']:.0f} ms" for column in columns])
    row("step over convolutions", [f"{column['step_over_bound']:.2f}" for column in columns])
    for kind in now["float32"]["profile_ms"]:
        if kind != "products of matrices":
            row(f"*{kind}*", [f"{column['profile_ms'][kind]:.0f} ms" for column in columns])


def test_what_a_second_process_gains_is_what_was_measured():
    text = (ROOT / "docs" / "devices.md").read_text()
    found = json.loads((ROOT / "benchmarks" / "results" / "devices_2_cores.json").read_text())
    for name, rate in found["images_a_second"].items():
        assert f"| {name} | {rate:.1f} | {found['times_one_process'][name]:.2f} |" in text


def test_what_xla_costs_is_what_was_measured():
    text = (ROOT / "docs" / "performance.md").read_text()
    found = json.loads((ROOT / "benchmarks" / "results" / "step_xla_1_core.json").read_text())
    step = found["models"]["probabilistic_unet"]["float32"]
    plain, by_xla = step["step_ms"], step["step_by_xla_ms"]
    assert f"{by_xla:,.0f} ms instead of {plain:.0f} in float32 ({by_xla / plain:.1f} times as long)" in text
