"""Plans: what they mean, what the shipped ones hold, and what is refused, with the place named."""

import copy
import dataclasses
import json

import pytest

from tf_probunet.comparison.plan import (
    FOLDER,
    SHARED_FIELDS,
    load_plan,
    named_plans,
    parse_plan,
)
from tf_probunet.experiment import MODEL_FIELDS, Experiment

CONTENT = {
    "name": "mine", "base": {"preset": "demo", "steps": 30},
    "entries": [
        {"name": "probabilistic", "label": "Probabilistic", "role": "reference", "seeds": [0, 3]},
        {"name": "heads", "role": "baseline", "fields": {"model": "mheads_unet"},
         "by_num_samples": {"16": {"num_heads": 16}, "4": {"num_heads": 4}}},
        {"name": "two", "role": "illustration", "fields": {"latent_dim": 2}},
    ],
}


def changed(**changes):
    """CONTENT with entries at paths such as entries__0__role changed; ... removes."""
    content = copy.deepcopy(CONTENT)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for step in parents:
            place = place[int(step) if isinstance(place, list) else step]
        last = int(last) if isinstance(place, list) else last
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return content


class TestMeaning:
    def test_every_run_is_the_base_with_the_entrys_fields(self):
        runs = {run.name: run for run in parse_plan(CONTENT).runs()}
        assert list(runs) == ["probabilistic-seed0", "heads-4-seed0", "heads-16-seed0", "two-seed0",
                              "probabilistic-seed3"]  # first seeds first
        assert {run.experiment.steps for run in runs.values()} == {30}
        heads = runs["heads-4-seed0"]
        assert (heads.num_samples, heads.experiment.model, heads.experiment.num_heads) == (4, "mheads_unet", 4)
        other = runs["probabilistic-seed3"]
        assert (other.num_samples, other.seed, other.experiment.seed) == (16, 3, 3)
        assert other.experiment.name == "probabilistic-seed3"
        assert [difference.split(":")[0] for difference in runs["two-seed0"].experiment.differences(
            runs["probabilistic-seed0"].experiment)] == ["name", "latent_dim"]

    def test_at_n_samples_the_smallest_model_that_has_as_many_is_used(self):
        heads = parse_plan(CONTENT).entries[1]
        assert [heads.variant_for(count) for count in (1, 4, 8, 16)] == [4, 4, 16, 16]

    def test_illustrations_are_compared_to_nothing(self):
        plan = parse_plan(CONTENT)
        assert [entry.name for entry in plan.compared] == ["probabilistic", "heads"]
        assert plan.reference.label == "Probabilistic" and plan.entries[1].label == "heads"

    def test_a_changed_base_is_that_of_all(self):
        plan = parse_plan(CONTENT).with_base(steps="60", channels="4,8")
        assert {(run.experiment.steps, run.experiment.channels) for run in plan.runs()} == {(60, (4, 8))}

    def test_what_is_written_reads_back_to_the_same_runs_without_the_preset(self):
        plan = parse_plan(CONTENT).with_base(steps=7)
        written = json.loads(json.dumps(plan.to_json()))
        assert "preset" not in written["base"]
        assert parse_plan(written).runs() == plan.runs()

    def test_so_does_a_model_of_one_variant(self):
        plan = parse_plan(changed(entries__1__by_num_samples={"16": {"num_heads": 8}}))
        assert plan.runs()[1].experiment.num_heads == 8
        assert parse_plan(json.loads(json.dumps(plan.to_json()))).runs() == plan.runs()


class TestShippedPlans:
    def test_are_those_of_the_paper(self):
        assert named_plans() == ["flips_comparison", "lidc_comparison"]
        for name in named_plans():
            plan = load_plan(name)
            assert plan.name == name and plan.title and plan.about
            runs = plan.runs()
            assert {run.experiment.model for run in runs} == set(MODEL_FIELDS)
            reference = next(run.experiment for run in runs if run.entry == plan.reference.name)
            ablations = [run.experiment for run in runs for entry in plan.entries
                         if run.entry == entry.name and entry.role == "ablation"]
            alike = [each for each in ablations if each.beta == reference.beta]  # the paper's; others are ours
            assert {(each.fixed_prior, each.posterior_sees_image, each.latent_injection) for each in alike} == {
                (True, True, "end"), (True, False, "end"), (False, True, "start")}
            assert reference.model == "probabilistic_unet" and set(plan.reference.fields) <= {"beta"}
            heads = [run for run in runs if run.experiment.model == "mheads_unet" and run.seed == 0]
            assert [(run.num_samples, run.experiment.num_heads) for run in heads] == [(4, 4), (8, 8), (16, 16)]
            for run in runs:
                if run.experiment.model == "image2image_vae":
                    assert (run.experiment.latent_dim, run.experiment.beta) == (3, 10)
                if run.experiment.model == "unet_ensemble":
                    assert run.experiment.num_members == 8
            assert any(run.experiment.latent_dim == 2 for run in runs)
            several = {entry.role for entry in plan.entries if len(entry.seeds) >= 2}
            assert {"reference", "baseline"} <= several

    def test_all_models_share_schedule_batches_and_selection(self):
        for name in named_plans():
            experiments = [run.experiment for run in load_plan(name).runs()]
            for field in SHARED_FIELDS:
                assert len({getattr(experiment, field) for experiment in experiments}) == 1, field

    def test_every_field_of_an_experiment_is_shared_or_a_models(self):
        own = {field for fields in MODEL_FIELDS.values() for field in fields}
        fields = {field.name for field in dataclasses.fields(Experiment)} - {"name", "seed", "model"}
        assert fields == (own - {"seed"}) | set(SHARED_FIELDS)

    def test_a_file_is_read_as_a_shipped_plan_is(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text((FOLDER / "lidc_comparison.json").read_text())
        assert load_plan(path) == load_plan("lidc_comparison")


class TestRefused:
    @pytest.mark.parametrize("changes, message", [
        ({"entrys": []}, "plan: Unknown field 'entrys'. Did you mean entries?"),
        ({"base": ...}, "plan lacks base"),
        ({"base": "demo"}, "base must hold fields"),
        ({"base__preset": "dmo"}, "Did you mean demo"),
        ({"base__stps": 3}, "Unknown Experiment field 'stps'. Did you mean steps"),
        ({"base__steps": 0}, "plan: steps must be at least 1"),
        ({"base__seed": 1}, "base sets seed. Names and seeds are an entry's own"),
        ({"entries": []}, "at least one model"),
        ({"entries__0": "heads"}, "an entry must be an object with a name"),
        ({"entries__1__name": "probabilistic"}, "probabilistic comes twice"),
        ({"entries__1__name": "../heads"}, "letters, digits and _"),
        ({"entries__1__colour": "red"}, "entry heads: Unknown field 'colour'"),
        ({"entries__1__role": "base"}, "entry heads: role must be one of reference, baseline"),
        ({"entries__1__role": "reference"}, "exactly one entry must have the role reference.*probabilistic, heads"),
        ({"entries__0__role": "baseline"}, "exactly one entry must have the role reference.*none"),
        ({"entries__1__fields__steps": 3}, "entry heads sets steps, which all models of a comparison share"),
        ({"entries__1__fields__seed": 3}, "entry heads sets seed in fields"),
        ({"entries__1__fields__modl": "x"}, "entry heads: Unknown Experiment field 'modl'. Did you mean model"),
        ({"entries__1__fields__model": "mhead_unet"}, "entry heads: .*Did you mean mheads_unet"),
        ({"entries__1__by_num_samples__16__num_head": 3}, "entry heads: .*Did you mean num_heads"),
        ({"entries__1__by_num_samples__4__steps": 3}, "by_num_samples 4 sets steps"),
        ({"entries__1__by_num_samples__16": ...}, "the largest of by_num_samples must be 16"),
        ({"entries__1__by_num_samples": {"many": {}}}, "must map numbers of samples to fields"),
        ({"entries__0__seeds": []}, "different whole numbers"),
        ({"entries__0__seeds": [1, 1]}, "different whole numbers"),
        ({"entries__0__seeds": [True]}, "different whole numbers"),
        ({"published": "brats"}, "Unknown table of published figures 'brats'"),
        ({"published": ["lidc"]}, "published must be text"),
        ({"base__preset": ["demo"]}, "preset must be text"),
        ({"title": 3}, "title must be text"),
    ])
    def test_with_the_place_named(self, changes, message):
        with pytest.raises(ValueError, match=message):
            parse_plan(changed(**changes))

    def test_what_is_no_plan(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Did you mean lidc_comparison.*JSON file that exists"):
            load_plan("lidc_comparson")
        (tmp_path / "half.json").write_text('{"name": ')
        with pytest.raises(ValueError, match="half.json is not valid JSON"):
            load_plan(tmp_path / "half.json")
        with pytest.raises(ValueError, match="must be an object"):
            parse_plan([1])

    def test_base_of_a_command_line(self):
        with pytest.raises(ValueError, match="Did you mean steps"):
            parse_plan(CONTENT).with_base(step=3)
        with pytest.raises(ValueError, match="base sets seed"):
            parse_plan(CONTENT).with_base(seed=3)
