"""All runs of a comparison have one precision, on whatever machines it goes on."""

import dataclasses
import json

import pytest
from made_up import CONTENT

from tf_probunet.comparison import state
from tf_probunet.comparison.compare import compare
from tf_probunet.comparison.plan import parse_plan
from tf_probunet.comparison.records import FORMAT
from tf_probunet.comparison.state import Settings, load_comparison, with_one_precision

SOLO_RUN = "probabilistic-seed0"  # the first of the plan


class TestPrecision:
    """A plan that leaves it to the machine, on machines of two kinds."""

    def on_machine_of(self, precision, monkeypatch):
        monkeypatch.setattr(state, "resolve_precision", lambda asked: precision if asked == "auto" else asked)

    def plan(self, found, tmp_path):
        """What becomes of the plan where runs of these precisions are there, some recorded, some begun."""
        plan = parse_plan(CONTENT).with_base(precision="auto")
        for run, precision in zip(plan.runs(), found):  # the rest is yet to come
            experiment = run.experiment.replace(precision=precision)
            if run.name == SOLO_RUN:
                (tmp_path / "records" / run.name).mkdir(parents=True)
                (tmp_path / "records" / run.name / "record.json").write_text(
                    json.dumps({"format": FORMAT, "experiment": dataclasses.asdict(experiment)}))
            else:
                (tmp_path / "runs" / run.name).mkdir(parents=True)
                experiment.save(tmp_path / "runs" / run.name)
        return with_one_precision(plan, tmp_path / "records", tmp_path / "runs")

    @pytest.mark.parametrize("found", [["mixed_bfloat16"], ["float32"] * 2, ["mixed_bfloat16"] * 2])
    def test_is_that_of_what_is_there(self, tmp_path, found, monkeypatch):
        self.on_machine_of("float32" if found[0] == "mixed_bfloat16" else "mixed_bfloat16", monkeypatch)
        plan = self.plan(found, tmp_path)
        assert {run.experiment.precision for run in plan.runs()} == {found[0]}

    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
    def test_is_that_of_the_machine_where_nothing_is(self, tmp_path, precision, monkeypatch):
        self.on_machine_of(precision, monkeypatch)
        assert self.plan([], tmp_path).base.precision == precision

    def test_is_that_of_a_plan_that_another_machine_has_just_begun(self, tmp_path, monkeypatch):
        self.on_machine_of("float32", monkeypatch)
        begun = parse_plan(CONTENT).with_base(precision="mixed_bfloat16")
        state.save_comparison(begun, Settings(), "", tmp_path)
        assert self.plan([], tmp_path).base.precision == "mixed_bfloat16"
        (tmp_path / "plan.json").write_text("{")
        assert self.plan([], tmp_path).base.precision == "float32"

    def test_of_two_kinds_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="probabilistic-seed0 float32, heads-4-seed0 mixed_bfloat16. Remove"):
            self.plan(["float32", "mixed_bfloat16"], tmp_path)

    def test_is_kept_with_the_plan(self, copied, tiny_plan, tiny_info, tiny_settings, monkeypatch):
        self.on_machine_of("mixed_bfloat16", monkeypatch)
        compare(tiny_plan.with_base(precision="auto"), tiny_info, copied, tiny_settings, report=lambda line: None)
        assert load_comparison(copied)[0].base.precision == "float32"
