"""The figures in docs/edge.md and docs/explore.md are those that the benchmarks wrote."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def page_and_figures(page, figures):
    return (ROOT / "docs" / page).read_text(), json.loads((ROOT / "benchmarks" / "results" / figures).read_text())


def test_combiners():
    text, found = page_and_figures("edge.md", "edge_2_cores.json")
    networks = [found["reference"], found["published_width"]]
    assert len(networks[0]["milliseconds"]) == 6
    for name in ("float32", "tiles of 32x32, 4 at once", "convolutions alone", "concatenated"):
        cells = [network["milliseconds"] for network in networks]
        assert " | ".join(f"{cell[name]:.2f} ms, {cell[name] / cell['convolutions alone']:.2f}" for cell in cells) in text
    for name, value in found["milliseconds_a_hypothesis_by_file"].items():
        assert f"| {name} | {value:.2f} ms |" in text
    reference = found["reference"]
    assert f"at best {reference['concatenated_over_convolutions_alone']:.2f} times" in text
    assert f"({reference['milliseconds']['int8']:.2f} ms, {reference['milliseconds']['float16']:.2f} ms in float16)" in text
    speeds = [f"{network['gigaflops_of_convolutions_alone']:.0f}" for network in networks]
    assert f"{' and '.join(speeds)} gigaflops" in text


def test_the_page():
    text, found = page_and_figures("explore.md", "explore_2_cores.json")
    for size in ("64x64", "128x128"):
        row = found[size]
        assert (f"| {size} | {row['drag_to_mask_ms']['median']:.1f} ms | {row['drag_to_mask_ms']['p95']:.0f} ms | "
                f"{row['hypothesis_ms']:.1f} ms | {row['wall_of_64_ms']:.0f} ms | "
                f"{row['seconds_to_the_first_wall']:.1f} s |") in text
    assert f"Chromium {found['browser'].split('.')[0]}," in text
