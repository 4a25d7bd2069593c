"""The numbers of a comparison, out of its records: means, intervals, tests against the reference; JSON values all."""

import dataclasses

import numpy as np

from tf_probunet.comparison.entries import SAMPLE_COUNTS, Entry, Plan
from tf_probunet.comparison.records import Record
from tf_probunet.metrics import bootstrap_interval, compare_paired, floor, holm

MOST = SAMPLE_COUNTS[-1]
# Measures at the largest number of samples: name, heading, digits, and how to find each in a summary's figures.
MEASURES = (
    ("cross", "E d(S,Y)", 3, lambda figures: figures["cross"]),
    ("sample_diversity", "E d(S,S')", 3, lambda figures: figures["sample_diversity"]),
    ("matched_iou", "matched IoU", 3, lambda figures: figures["matched_iou"][str(MOST)]["mean"]),
    ("reconstruction_iou", "reconstruction IoU", 3, lambda figures: (figures["reconstruction_iou"] or {}).get("mean")),
    ("variance_error_correlation", "NCC", 3, lambda figures: (figures["variance_error_correlation"] or {}).get("mean")),
    ("calibration_error", "calibration error", 4, lambda figures: figures["calibration"]["expected_error"]["value"]),
    ("presence_auc", "presence AUC", 3, lambda figures: (figures["presence_auc"] or {}).get("value")),
)
MODE_FIGURES = ("total_variation", "log_correlation", "num_hit", "num_modes", "expected_total_variation")


@dataclasses.dataclass(frozen=True)
class Results:
    """All records of one entry; of every variant there is at least one.

    Args:
        entry: of the plan.
        by_seed: records by seed and variant; a seed may lack some variants, which then count without it.
    """

    entry: Entry
    by_seed: dict[int, dict[int, Record]]

    def records(self, num_samples) -> dict[int, Record]:
        """By seed, of the variant that is used at so many samples."""
        variant = self.entry.variant_for(num_samples)
        return {seed: records[variant] for seed, records in self.by_seed.items() if variant in records}

    def distances(self, num_samples) -> np.ndarray:
        """[seeds, B] energy distances at so many samples."""
        return np.stack([_distances(record, num_samples) for record in self.records(num_samples).values()])

    @property
    def largest(self) -> list[Record]:
        """Records of each seed at the largest number of samples."""
        return list(self.records(MOST).values())


def small_ensemble(experiment) -> int | None:
    """The members of an ensemble of fewer than 16 whose 16 samples hold each of them equally often; else None.

    Args:
        experiment: dict of the fields of an `Experiment`.
    """
    members = experiment["num_members"] if experiment["model"] == "unet_ensemble" else MOST
    return members if 1 < members < MOST and MOST % members == 0 else None


def _distances(record, num_samples) -> np.ndarray:
    """[B] energy distances of one training at so many samples.

    Of n samples of an ensemble none are of one member. Where it has fewer than 16, the figure for n is the mean over
    ensembles of n members trained alike, of which those at hand are a draw: as `energy_distance_from_distances` has it,
    with the mean over pairs of different members, which does not depend on how many there are.
    """
    evaluation, members = record.evaluation, small_ensemble(record.facts["experiment"])
    if members is None:
        return evaluation.energy_distance[num_samples]
    different = evaluation.sample_diversity * members / (members - 1)  # the mean over all pairs has equal ones too
    return 2 * evaluation.cross - (num_samples - 1) / num_samples * different - evaluation.grader_diversity


def gather(plan: Plan, records: dict[str, Record]) -> tuple[list[Results], list[str]]:
    """Sorts records by entry.

    Args:
        plan: of the comparison.
        records: by the name of the run.
    Returns:
        `Results` of the entries that have a record of each of their variants, in the plan's order, and the names of
        the runs that have none.
    Raises:
        ValueError: records are not of the same images.
    """
    found, missing = [], []
    for entry in plan.entries:
        by_seed = {}
        for seed in entry.seeds:
            names = {variant: entry.run_name(variant, seed) for variant in entry.variants}
            missing += [name for name in names.values() if name not in records]
            there = {variant: records[name] for variant, name in names.items() if name in records}
            if there:
                by_seed[seed] = there
        if set().union(*by_seed.values()) == set(entry.variants):
            found.append(Results(entry, by_seed))
    images = {}
    for name, record in records.items():
        images.setdefault(record.evaluation.source_ids.tobytes(), name)
    if len(images) > 1:
        one, other = list(images.values())[:2]
        raise ValueError(f"Records {one} and {other} are of different images, so they cannot be compared. Remove the "
                         "stale one and run the comparison again.")
    return found, missing


def comparison_figures(plan: Plan, results: list[Results], seed=0) -> dict:
    """Every number of the page.

    Of an entry with several seeds, an image's energy distance is the mean over the seeds; intervals resample groups of
    images, so they say how sure a figure is over patients, not over trainings. Holm's step runs over all tests of the
    table, models times numbers of samples.

    Args:
        plan: of the comparison.
        results: as `gather` gives them; illustrations among them are left out.
        seed: of the bootstrap.
    Returns:
        dict of JSON values: num_images, num_groups, grader_diversity, floors, presence, and entries.
    """
    results = [result for result in results if result.entry.role != "illustration"]
    reference = next((result for result in results if result.entry.role == "reference"), None)
    first = results[0].largest[0].evaluation
    entries = [_entry(result, seed) for result in results]
    if reference is not None:
        _compare(entries, results, reference, first.groups, seed)
    return {
        "num_images": len(first.groups),
        "num_groups": len(set(first.groups.tolist())),
        "grader_diversity": float(first.grader_diversity.mean()),
        "floors": {str(count): float(floor(first.grader_diversity.mean(), count)) for count in SAMPLE_COUNTS},
        "presence": _presence(first),
        "entries": entries,
    }


def _entry(result, seed) -> dict:
    groups = result.largest[0].evaluation.groups
    # Figures of a record are those of its evaluation's summary, with the intervals of each.
    summaries = {training: record.evaluation.summary()["images"]["all"]
                 for training, record in result.records(MOST).items()}
    distances = {count: result.distances(count) for count in SAMPLE_COUNTS}  # of [seeds, B]
    return {
        "name": result.entry.name,
        "label": result.entry.label,
        "role": result.entry.role,
        "seeds": list(result.by_seed),
        "small_ensemble": small_ensemble(result.largest[0].facts["experiment"]),
        "energy_distance": {
            str(count): {
                **_mean(values.mean(axis=0), groups, seed),
                "by_seed": dict(zip(map(str, result.records(count)), values.mean(axis=1).tolist(), strict=True)),
            }
            for count, values in distances.items()
        },
        "measures": {name: mean_of([find(figures) for figures in summaries.values()]) for name, _, _, find in MEASURES},
        "presence": _by_presence(result, distances, groups, seed),
        **_modes(list(summaries.values())),
        "runs": [
            {"name": record.facts["run"], "seed": training, "num_samples": variant,
             "weights_sha256": record.facts["weights_sha256"],
             **{name: value for name, value in record.facts["training"].items() if name != "history"}}
            for training, records in result.by_seed.items() for variant, record in records.items()
        ],
        "summaries": {str(training): figures for training, figures in summaries.items()},
    }


def mean_of(values):
    """The mean of what is defined, None where nothing is.

    Example:
        >>> mean_of([1.0, None, 3.0]), mean_of([None])
        (2.0, None)
    """
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


def _mean(values, groups, seed) -> dict:
    """Mean and interval of [B] values, of those that are defined."""
    defined = np.isfinite(values)
    if not defined.any():
        return {"mean": None, "interval_95": None, "num_images": 0}
    values, groups = values[defined], groups[defined]
    several = len(set(groups.tolist())) > 1
    return {"mean": float(values.mean()), "num_images": len(values),
            "interval_95": list(bootstrap_interval(values, groups, seed=seed)) if several else None}


def _compare(entries, results, reference, groups, seed):
    """Adds to each entry's energy distances the test against the reference."""
    tests = []
    for figures, result in zip(entries, results, strict=True):
        if result is reference:
            continue
        for count in SAMPLE_COUNTS:
            mine, theirs = (one.distances(count).mean(axis=0) for one in (result, reference))
            test = compare_paired(mine, theirs, groups)
            found = {"difference": test.mean_difference,
                     "interval_95": _mean(mine - theirs, groups, seed)["interval_95"],
                     "p_value": test.p_value, "effect_size": test.effect_size, "num_groups": test.num_groups,
                     # One group has no spread, and so no test.
                     "group_p_value": test.group_p_value if test.num_groups > 1 else None,
                     "group_effect_size": test.group_effect_size if test.num_groups > 1 else None}
            figures["energy_distance"][str(count)]["against_reference"] = found
            tests.append(found)
    for name in ("p_value", "group_p_value"):
        if any(found[name] is None for found in tests):
            continue
        for found, adjusted in zip(tests, holm([found[name] for found in tests]), strict=True):
            found[f"{name}_holm"] = float(adjusted)


def _presence(evaluation) -> dict:
    """Of the images on whose presence graders disagree, and of the others: number and floors."""
    return {
        name: {"num_images": int(chosen.sum()),
               "floors": {str(count): float(floor(evaluation.grader_diversity[chosen].mean(), count))
                          for count in SAMPLE_COUNTS}}
        for name, chosen in (("disagreed", evaluation.disagreed), ("agreed", ~evaluation.disagreed)) if chosen.any()
    }


def _by_presence(result, distances, groups, seed) -> dict:
    disagreed = result.largest[0].evaluation.disagreed
    return {
        name: {str(count): _mean(values.mean(axis=0)[chosen], groups[chosen], seed)
               for count, values in distances.items()}
        for name, chosen in (("disagreed", disagreed), ("agreed", ~disagreed)) if chosen.any()
    }


def _modes(summaries) -> dict:
    """Mode frequencies and flip rates, means over seeds; nothing for data without flips."""
    if "modes" not in summaries[0]:
        return {}
    modes = {"probabilities": summaries[0]["modes"]["probabilities"]}
    for rule in ("first", "split", "pixel_vote"):
        found = [figures["modes"][rule] for figures in summaries]
        modes[rule] = {
            "frequencies": np.mean([figures["frequencies"] for figures in found], axis=0).tolist(),
            "truth": found[0]["truth"],
            "total_variation_without": np.mean([figures["total_variation_without"] for figures in found],
                                               axis=0).tolist(),
            **{against: {name: mean_of([figures[against][name] for figures in found]) for name in MODE_FIGURES}
               for against in ("against_probabilities", "against_truth")},
        }
    rates = [figures["pixel_flip_rates"] for figures in summaries]
    return {"modes": modes, "pixel_flip_rates": [
        dict(flip, **{name: mean_of([flips[place][name] for flips in rates]) for name in ("rate", "met", "recovered")})
        for place, flip in enumerate(rates[0])
    ]}
