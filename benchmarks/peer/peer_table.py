"""From what single processes measured to the record of the benchmark, its ratios, and the tables that docs show."""

from statistics import median

PEER = "peer, float32"  # what all ratios are over, unless they say otherwise
OURS = ("ours, float32", "ours, mixed_bfloat16")


def figures(played: list) -> dict:
    """The record: medians over rounds, ratios of medians.

    Args:
        played: dicts of case, contestant and what it found, in the order in which they ran.
    Returns:
        dict of versions, parameters, training, sampling (each by case, then by contestant) and ratios.
    """
    sides = {"ours" if run["contestant"].startswith("ours") else "peer": run["found"] for run in played}
    training = _by_case(played, "training", _training)
    sampling = _by_case(played, "sampling", _sampling)
    return {
        "versions": {side: found["versions"] for side, found in sides.items()},
        "parameters": {side: found["parameters"] for side, found in sides.items()},
        "training": training,
        "sampling": sampling,
        "ratios": {
            "training": {case: _over(rows, rate) for case, rows in training.items()},
            "sampling": {
                case: {count: _over(rows, lambda row, count=count: 1 / fastest(row, count)) for count in counts(rows)}
                for case, rows in sampling.items()
            },
        },
    }


def _by_case(played, kind, summary):
    found = {}
    for run in played:
        case = run["case"]
        if case["kind"] == kind:
            size = f"{case['size']}x{case['size']}"
            name = size if kind == "sampling" else f"{case['batch']} of {size}"  # samples are always of one image
            found.setdefault(name, {}).setdefault(run["contestant"], []).append((case, run["found"]))
    return {name: {contestant: summary(rounds) for contestant, rounds in rows.items()} for name, rows in found.items()}


def _training(rounds):
    rates = [case["batch"] / median(found["step_seconds"]) for case, found in rounds]
    middle = {
        name: median(found[name] for _, found in rounds)
        for name in ("peak_memory_mib", "first_step_seconds", "first_step_seconds_without_imports")
    }
    return {"images_per_second": median(rates), "images_per_second_by_round": rates, **middle}


def _sampling(rounds):
    first = rounds[0][1]["milliseconds"]
    return {
        "milliseconds": {
            way: {
                count: median(median(found["milliseconds"][way][count]) for _, found in rounds) for count in first[way]
            }
            for way in first
        },
        "peak_memory_mib": median(found["peak_memory_mib"] for _, found in rounds),
    }


def _over(rows, speed):
    """How many times as fast as the peer's each is: ours over all of the peer's, the peer's over its float32."""
    peers = [name for name in rows if name.startswith("peer")]
    return {
        f"{name} over {peer}": speed(rows[name]) / speed(rows[peer])
        for name in rows for peer in peers if name != peer and (name in OURS or peer == PEER)
    }


def rate(row):
    return row["images_per_second"]


def counts(rows):
    """The numbers of samples that were drawn."""
    return list(next(iter(next(iter(rows.values()))["milliseconds"].values())))


def fastest(row, count):
    """Milliseconds of the faster way of drawing so many samples."""
    return min(way[count] for way in row["milliseconds"].values())


def markdown(record: dict) -> str:
    """The record as tables; "times" is always over the peer in float32, and of its two ways to sample the faster."""
    return "\n".join([*_contestants(record), "", *_scaling(record), "", *_samples(record), "", *_parameters(record)])


def _table(header, rows):
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _times(ratios, name):
    ratio = ratios.get(f"{name} over {PEER}")
    return "" if ratio is None else f", {ratio:.2f} times"


def _contestants(record):
    case, rows = next(iter(record["training"].items()))
    image, samples = next(iter(record["sampling"].items()))
    count = counts(samples)[0]
    ratios, drawn = record["ratios"]["training"][case], record["ratios"]["sampling"][image][count]
    header = [case, "images a second in training", f"{count} samples of one {image}", "peak memory in training",
              "the first step ends after", "of that after the imports"]
    return _table(header, [
        [
            name,
            f"{rate(row):.1f}{_times(ratios, name)}",
            f"{fastest(samples[name], count):.0f} ms{_times(drawn, name)}" if name in samples else "",
            f"{row['peak_memory_mib']:,.0f} MiB",
            f"{row['first_step_seconds']:.1f} s",
            f"{row['first_step_seconds_without_imports']:.1f} s",
        ]
        for name, row in rows.items()
    ])


def _scaling(record):
    names = (PEER, *OURS)
    header = ["training, images a second", *names, "peak memory, in the same order"]
    return _table(header, [
        [
            case,
            *(f"{rate(rows[name]):.1f}{_times(record['ratios']['training'][case], name)}" for name in names),
            ", ".join(f"{rows[name]['peak_memory_mib']:,.0f}" for name in names) + " MiB",
        ]
        for case, rows in record["training"].items()
    ])


def _samples(record):
    found = record["sampling"]
    ways = list(next(iter(found.values()))[PEER]["milliseconds"])
    header = ["samples, milliseconds", *(f"{PEER}, {way}" for way in ways), *OURS]
    return _table(header, [
        [
            f"{count} of one {case}",
            *(f"{rows[PEER]['milliseconds'][way][count]:.0f}" for way in ways),
            *(
                f"{fastest(rows[name], count):.0f}{_times(record['ratios']['sampling'][case][count], name)}"
                for name in OURS
            ),
        ]
        for case, rows in found.items() for count in counts(rows)
    ])


def _parameters(record):
    ours, peer = (record["parameters"][side] for side in ("ours", "peer"))
    rows = [[part, f"{ours[part]:,}", f"{peer[part]:,}"] for part in ours]
    return _table(["parameters", "ours", "peer"],
                  [*rows, ["all", f"{sum(ours.values()):,}", f"{sum(peer.values()):,}"]])
