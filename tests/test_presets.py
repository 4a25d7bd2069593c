"""Every preset can be trained as it stands, and says where each of its values is from."""

import ast
import dataclasses
import inspect

import pytest

from tf_probunet import presets
from tf_probunet.data.augment import Augmentation
from tf_probunet.experiment import Experiment
from tf_probunet.presets import PRESETS, preset

FIELDS = {field.name for field in dataclasses.fields(Experiment)}


@pytest.mark.parametrize("name", PRESETS)
class TestEach:
    def test_every_field_has_a_source(self, name):
        assert set(PRESETS[name].sources) == FIELDS
        assert set(PRESETS[name].sources.values()) <= {"paper", "code", "ours"}

    def test_every_field_that_it_changes_is_named_with_its_source(self, name):
        """What a preset leaves out keeps its default; read from the file, so that the default source cannot hide it."""
        calls = [node for node in ast.walk(ast.parse(inspect.getsource(presets)))
                 if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_preset"
                 and node.args[0].value == name]
        (call,) = calls
        named = {field.arg: source.arg for source in call.keywords for field in source.value.keywords}
        changed = {field for field in FIELDS if getattr(preset(name), field) != getattr(Experiment(), field)} - {"name"}
        assert changed <= set(named)
        assert {field: PRESETS[name].sources[field] for field in named} == named

    def test_it_has_a_purpose_and_its_name(self, name):
        assert PRESETS[name].experiment.name == name
        assert PRESETS[name].purpose.endswith(".")

    def test_its_crops_fit_its_downsamplings(self, name):
        experiment = preset(name)
        factor = 2 ** (len(experiment.channels) - 1)
        assert all(side % factor == 0 for side in experiment.crop_size)

    def test_its_schedule_goes_down_within_the_run(self, name):
        experiment = preset(name)
        boundaries = (0, *experiment.schedule_boundaries, experiment.steps)
        rates = (experiment.learning_rate, *experiment.schedule_values)
        assert list(boundaries) == sorted(set(boundaries)) and list(rates) == sorted(set(rates), reverse=True)
        assert experiment.warmup_steps < experiment.steps

    def test_its_augmentation_is_one(self, name):
        assert isinstance(preset(name).augmentation, Augmentation)

    def test_it_survives_its_file(self, name, tmp_path):
        preset(name).save(tmp_path)
        assert Experiment.load(tmp_path) == preset(name)


def test_the_papers_values_of_appendix_h1():
    experiment = preset("lidc_paper")
    said = dict(
        channels=(32, 64, 128, 256, 512), num_convs=3, latent_dim=6, beta=1.0, batch_size=32, steps=240_000,
        crop_size=(128, 128), learning_rate=1e-4, weight_decay=1e-5, initializer="orthogonal",
    )
    assert {field: getattr(experiment, field) for field in said} == said
    assert {PRESETS["lidc_paper"].sources[field] for field in said} == {"paper"}
    assert experiment.schedule_values[-1] == 1e-6 and len(experiment.schedule_values) == 5


def test_a_value_from_the_paper_is_the_papers_in_every_preset_of_the_same_data():
    paper = preset("lidc_paper")
    for name, other in PRESETS.items():
        for field, source in other.sources.items():
            if source == "paper":
                assert getattr(other.experiment, field) == getattr(paper, field), (name, field)


def test_an_unknown_preset_names_the_near_ones():
    with pytest.raises(ValueError, match="Unknown preset 'lidc_smal'. Did you mean lidc_small"):
        preset("lidc_smal")


def test_a_field_with_two_sources_is_refused():
    with pytest.raises(ValueError, match="Preset x gives a field two sources"):
        presets._preset("x", "A test.", paper={"beta": 1.0}, ours={"beta": 2.0})
