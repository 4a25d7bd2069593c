"""The figures in docs/serving.md are those that the benchmark wrote."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_row_is_in_the_benchmarks_file():
    text = (ROOT / "docs" / "serving.md").read_text()
    found = json.loads((ROOT / "benchmarks" / "results" / "serving_2_cores.json").read_text())
    for size, row in found["overhead"].items():
        assert (f"| {size} | {row['in_process_ms']:.1f} ms | {row['served_ms']:.1f} ms | "
                f"{row['same_bytes_echoed_ms']:.1f} ms | {100 * row['overhead_without_the_bytes_copy']:.0f} % |") in text
    for name, row in found["load"].items():
        cells = " | ".join(f"{row[f'p{share}_ms']:.0f} ms" for share in (50, 95, 99))
        assert f"| {re.sub('^1 callers', '1 caller', name)} | {row['requests_a_second']:.0f} | {cells} |" in text
    for name, row in found["modes"].items():
        cells = " | ".join(f"{mode['bytes'] / 1e6:.2f} MB, {mode['ms']:.0f} ms" for mode in row.values())
        assert f"| {re.sub('^1 samples', '1 sample', name)} | {cells} |" in text
    swap, memory, fuzz = found["swap"], found["memory"]["seen"], found["fuzz"]
    assert f"{swap['replies']:,} replies, {sum(swap['errors'].values())} errors" in text
    assert f"{swap['quiet']['p99_ms']:.0f} and {swap['while_a_version_comes']['p99_ms']:.0f} ms, " \
           f"{swap['p99_ratio']:.2f} times" in text
    assert f"{memory[1]['mib']:.0f} and {memory[-1]['mib']:.0f} MiB" in text
    assert f"slowest reply {fuzz['slowest_ms']:.0f} ms, {fuzz['replica_growth_mib']:.1f} MiB more" in text
