"""Numbers of a comparison: against numpy and scipy on made-up records."""

import itertools
import json

import numpy as np
import pytest
from made_up import GROUPS, evaluation, record
from scipy.stats import wilcoxon

from tf_probunet.comparison.plan import parse_plan
from tf_probunet.comparison.tables import comparison_figures, gather, small_ensemble
from tf_probunet.metrics import bootstrap_interval, energy_distance, holm

PLAN = parse_plan({
    "name": "made_up", "base": {"preset": "demo"},
    "entries": [
        {"name": "reference", "role": "reference", "seeds": [0, 1]},
        {"name": "heads", "role": "baseline", "by_num_samples": {"4": {"num_heads": 4}, "16": {"num_heads": 16}}},
        {"name": "other", "role": "ablation", "fields": {"fixed_prior": True}},
        {"name": "two", "role": "illustration", "fields": {"latent_dim": 2}},
    ],
})
RNG = np.random.default_rng(0)
DISTANCES = {name: RNG.uniform(0, 1, len(GROUPS)) for name in (
    "reference-seed0", "reference-seed1", "heads-4-seed0", "heads-16-seed0", "other-seed0", "two-seed0")}


def records(without=(), **options):
    """By name, of every run of the plan."""
    found = {}
    for run in PLAN.runs():
        counts = [count for count in (1, 4, 8, 16) if count <= run.num_samples]
        found[run.name] = record(run, evaluation(DISTANCES[run.name], counts, **options))
    return {name: value for name, value in found.items() if name not in without}


@pytest.fixture(scope="module")
def figures():
    results, missing = gather(PLAN, records())
    assert missing == []
    return comparison_figures(PLAN, results)


def entry(figures, name):
    return next(entry for entry in figures["entries"] if entry["name"] == name)


def test_it_is_json_without_nan(figures):
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_illustrations_are_in_no_table(figures):
    assert [entry["name"] for entry in figures["entries"]] == ["reference", "heads", "other"]


def test_floor_is_that_of_a_perfect_sampler(figures):
    assert figures["floors"] == pytest.approx({"1": 0.4, "4": 0.1, "8": 0.05, "16": 0.025})
    assert (figures["num_images"], figures["num_groups"]) == (12, 6)


def test_seeds_are_averaged_image_by_image_and_each_is_told(figures):
    found = entry(figures, "reference")["energy_distance"]["4"]
    both = np.stack([DISTANCES["reference-seed0"], DISTANCES["reference-seed1"]]) + 1 / 4
    assert found["mean"] == pytest.approx(both.mean())
    assert found["by_seed"] == pytest.approx({"0": both[0].mean(), "1": both[1].mean()})
    assert found["interval_95"] == pytest.approx(bootstrap_interval(both.mean(axis=0), GROUPS, seed=0))
    assert found["num_images"] == 12


@pytest.mark.parametrize("count, run", [(1, "heads-4-seed0"), (4, "heads-4-seed0"), (8, "heads-16-seed0"),
                                        (16, "heads-16-seed0")])
def test_of_variants_the_smallest_that_has_as_many_samples(figures, count, run):
    found = entry(figures, "heads")["energy_distance"][str(count)]["mean"]
    assert found == pytest.approx(DISTANCES[run].mean() + 1 / count)


def test_an_ensemble_of_fewer_members_stands_for_those_of_as_many_as_samples():
    plan = parse_plan({"name": "made_up", "base": {"preset": "demo"}, "entries": [
        {"name": "ensemble", "role": "reference", "fields": {"model": "unet_ensemble", "num_members": 4}}]})
    rng = np.random.default_rng(0)
    members, graders = (rng.random((1, count, 5, 5)) < 0.4 for count in (16, 4))
    found = []
    for chosen in itertools.combinations(range(16), 4):  # the mean over all ensembles of 4 is that of 16
        drawn = np.tile(members[:, chosen], (1, 4, 1, 1)).astype(int)
        exact = energy_distance(drawn, graders.astype(int), 2)
        one = evaluation([0.0], groups=np.array(["a"]), cross=exact.cross, sample_diversity=exact.sample_diversity,
                         grader_diversity=exact.grader_diversity)
        results, _ = gather(plan, {"ensemble-seed0": record(plan.runs()[0], one)})
        found.append([results[0].distances(count)[0, 0] for count in (4, 16)])
    assert found[0][0] == pytest.approx(energy_distance(members[:, :4].astype(int), graders.astype(int), 2)[0][0])
    of_all = energy_distance(members.astype(int), graders.astype(int), 2)[0][0]
    assert np.mean(found, axis=0)[1] == pytest.approx(of_all)
    assert comparison_figures(plan, results)["entries"][0]["small_ensemble"] == 4


@pytest.mark.parametrize("fields, expected", [
    ({"model": "unet_ensemble", "num_members": 8}, 8), ({"model": "unet_ensemble", "num_members": 16}, None),
    ({"model": "unet_ensemble", "num_members": 6}, None), ({"model": "unet_ensemble", "num_members": 1}, None),
    ({"model": "mheads_unet", "num_members": 8}, None),
])
def test_which_ensembles_are_small(fields, expected):
    assert small_ensemble(fields) == expected


def test_p_values_are_wilcoxons_of_paired_images_under_holm(figures):
    reference = (DISTANCES["reference-seed0"] + DISTANCES["reference-seed1"]) / 2
    expected, by_groups, found = [], [], []
    for name, runs in (("heads", ["heads-4-seed0"] * 2 + ["heads-16-seed0"] * 2), ("other", ["other-seed0"] * 4)):
        for count, run in zip((1, 4, 8, 16), runs, strict=True):
            difference = DISTANCES[run] - reference
            expected.append(wilcoxon(difference, zero_method="pratt").pvalue)
            by_groups.append(wilcoxon(difference.reshape(6, 2).mean(axis=1), zero_method="pratt").pvalue)
            test = entry(figures, name)["energy_distance"][str(count)]["against_reference"]
            assert test["difference"] == pytest.approx(difference.mean())
            assert test["interval_95"] == pytest.approx(bootstrap_interval(difference, GROUPS, seed=0))
            found.append(test)
    assert [test["p_value"] for test in found] == pytest.approx(expected)
    assert [test["p_value_holm"] for test in found] == pytest.approx(holm(expected))
    assert [test["group_p_value_holm"] for test in found] == pytest.approx(holm(by_groups))
    assert "against_reference" not in entry(figures, "reference")["energy_distance"]["1"]


def test_measures_are_those_of_the_evaluation_at_16_samples(figures):
    measures = entry(figures, "heads")["measures"]
    assert measures["cross"] == pytest.approx(DISTANCES["heads-16-seed0"].mean() + 0.2)
    assert measures["matched_iou"] == pytest.approx(1 - DISTANCES["heads-16-seed0"].mean())
    assert measures["calibration_error"] == pytest.approx(0.15)  # (|3 - 2| + |7 - 9|) / 20
    assert measures["reconstruction_iou"] is None and measures["presence_auc"] is None


def test_images_are_told_apart_by_the_graders_agreement_on_presence():
    presence = np.where(np.arange(12) % 3 == 0, 0.5, 1.0)
    results, _ = gather(PLAN, records(presence=presence))
    figures = comparison_figures(PLAN, results)
    assert {name: kind["num_images"] for name, kind in figures["presence"].items()} == {"disagreed": 4, "agreed": 8}
    found = entry(figures, "other")["presence"]
    for name, chosen in (("disagreed", presence < 1), ("agreed", presence == 1)):
        assert found[name]["16"]["mean"] == pytest.approx(DISTANCES["other-seed0"][chosen].mean() + 1 / 16)


def test_one_group_has_neither_interval_nor_test_over_groups():
    results, _ = gather(PLAN, records(groups=np.array(["video"] * 12)))
    found = entry(comparison_figures(PLAN, results), "other")["energy_distance"]["16"]
    assert found["interval_95"] is None and found["against_reference"]["group_p_value"] is None
    assert "group_p_value_holm" not in found["against_reference"] and found["against_reference"]["p_value_holm"] <= 1


def test_a_seed_counts_where_it_has_a_run():
    plan = parse_plan({"name": "made_up", "base": {"preset": "demo"}, "entries": [
        {"name": "reference", "role": "reference"},
        {"name": "heads", "role": "baseline", "seeds": [0, 1],
         "by_num_samples": {"4": {"num_heads": 4}, "16": {"num_heads": 16}}}]})
    values = {run.name: RNG.uniform(0, 1, len(GROUPS)) for run in plan.runs()}
    found = {run.name: record(run, evaluation(values[run.name], [n for n in (1, 4, 8, 16) if n <= run.num_samples]))
             for run in plan.runs() if run.name != "heads-4-seed1"}
    results, missing = gather(plan, found)
    assert missing == ["heads-4-seed1"]
    heads = entry(comparison_figures(plan, results), "heads")["energy_distance"]
    assert heads["4"]["by_seed"] == pytest.approx({"0": values["heads-4-seed0"].mean() + 1 / 4})
    assert heads["16"]["by_seed"] == pytest.approx(
        {str(seed): values[f"heads-16-seed{seed}"].mean() + 1 / 16 for seed in (0, 1)})


def test_entries_that_lack_a_variant_do_not_count_and_what_lacks_is_named():
    results, missing = gather(PLAN, records(without=("heads-4-seed0", "reference-seed1")))
    assert missing == ["reference-seed1", "heads-4-seed0"]
    figures = comparison_figures(PLAN, results)
    assert [entry["name"] for entry in figures["entries"]] == ["reference", "other"]
    assert entry(figures, "reference")["seeds"] == [0]


def test_without_the_reference_there_are_no_tests():
    results, _ = gather(PLAN, records(without=("reference-seed0", "reference-seed1")))
    figures = comparison_figures(PLAN, results)
    assert "against_reference" not in entry(figures, "other")["energy_distance"]["1"]


def test_records_of_other_images_are_refused():
    found = records()
    found["other-seed0"] = record(PLAN.runs()[0], evaluation(DISTANCES["other-seed0"], source_ids=np.arange(12)))
    with pytest.raises(ValueError, match="Records reference-seed0 and other-seed0 are of different images"):
        gather(PLAN, found)


def test_modes_are_means_over_seeds():
    def with_modes(flipped):
        counts = np.tile([16.0 - flipped, flipped], (12, 1))
        truth = np.tile([0.75, 0.25], (12, 1))
        flips = [{"from": "road", "to": "road 2", "probability": 0.25}]
        return dict(
            settings={"seed": 0, "flips": flips}, mode_weights=np.array([0.75, 0.25]), mode_counts=counts,
            mode_truth=truth, mode_counts_split=counts, mode_truth_split=truth, pixel_mode_counts=counts,
            pixel_mode_truth=truth, flip_pixels=np.tile([[100.0, 100.0 - 5 * flipped, 5 * flipped]], (12, 1, 1)),
            flip_recovery=np.tile([[[3.0, 0.0], [4.0, flipped]]], (12, 1, 1, 1)),
        )

    reference = [run for run in PLAN.runs() if run.entry == "reference"]
    found = {run.name: record(run, evaluation(DISTANCES[run.name], **with_modes(flipped)))
             for run, flipped in zip(reference, (4.0, 2.0), strict=True)}
    results, _ = gather(PLAN, found)
    modes = comparison_figures(PLAN, results)["entries"][0]
    assert modes["modes"]["first"]["frequencies"] == pytest.approx([13 / 16, 3 / 16])
    assert modes["modes"]["first"]["truth"] == [0.75, 0.25]
    assert modes["modes"]["first"]["against_truth"]["total_variation"] == pytest.approx((0 + 0.125) / 2)
    assert modes["modes"]["first"]["total_variation_without"] == [0.0], "nothing is left to differ in"
    assert modes["pixel_flip_rates"][0]["rate"] == pytest.approx((0.2 + 0.1) / 2)
    assert modes["pixel_flip_rates"][0]["recovered"] == pytest.approx((1.0 + 0.5) / 2)
