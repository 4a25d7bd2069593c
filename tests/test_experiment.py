"""Fields come from flags, files and code, and end as the annotated type or as an error that names the field."""

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_probunet.data.augment import Augmentation
from tf_probunet.experiment import Experiment

# Values of every kind, as code would give them.
FIELDS = st.fixed_dictionaries({}, optional={
    "name": st.text(max_size=8),
    "channels": st.lists(st.integers(1, 512), max_size=6).map(tuple),
    "latent_dim": st.integers(-5, 50),
    "log_sigma_clip": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "beta": st.floats(allow_nan=False, allow_infinity=False),
    "crop_size": st.tuples(st.integers(1, 999), st.integers(1, 999)),
    "scale": st.tuples(st.floats(0.1, 1.0), st.floats(1.0, 9.0)),
    "mirror": st.booleans(),
    "shift": st.none() | st.floats(0, 99),
    "steps": st.integers(1, 10**9),
})


def as_text(value):
    """How a flag would say it."""
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return "none" if value is None else str(value)


class TestValues:
    @given(FIELDS)
    def test_text_gives_what_code_gives(self, fields):
        texts = {name: as_text(value) for name, value in fields.items()}
        assert Experiment().replace(**texts) == Experiment(**fields)

    @given(FIELDS)
    def test_json_gives_what_code_gives(self, fields):
        experiment = Experiment(**fields)
        assert Experiment().replace(**json.loads(json.dumps(dataclasses.asdict(experiment)))) == experiment

    @pytest.mark.parametrize("field, text, value", [
        ("learning_rate", "5e-4", 5e-4), ("channels", "24, 48,96", (24, 48, 96)), ("channels", "24,", (24,)),
        ("schedule_values", "", ()), ("mirror", "True", True), ("mirror", "0", False), ("clipnorm", "None", None),
        ("clipnorm", "2", 2.0), ("crop_size", [64, 32], (64, 32)), ("steps", 100.0, 100), ("steps", "240_000", 240_000),
        ("batch_size", np.int64(3), 3), ("beta", np.float32(0.5), 0.5), ("beta", 2, 2.0),
    ])
    def test_what_is_understood(self, field, text, value):
        found = getattr(Experiment().replace(**({"schedule_boundaries": ()} | {field: text})), field)
        assert found == value and type(found) is type(value)

    @pytest.mark.parametrize("field, value, expected", [
        ("steps", "many", "int"), ("steps", "1.5", "int"), ("steps", 1.5, "int"), ("steps", True, "int"),
        ("steps", None, "int"), ("steps", float("inf"), "int"), ("steps", float("nan"), "int"),
        ("learning_rate", "fast", "float"), ("learning_rate", "nan", "float"), ("learning_rate", "inf", "float"),
        ("learning_rate", False, "float"), ("learning_rate", "none", "float"), ("beta", [1.0], "float"),
        ("mirror", "yes", "bool"), ("mirror", 2, "bool"), ("name", None, "str"), ("name", 5, "str"),
        ("channels", "24,x", "tuple"), ("channels", "24,,48", "tuple"), ("channels", 24, "tuple"),
        ("crop_size", "64", "tuple"), ("crop_size", (1, 2, 3), "tuple"), ("clipnorm", "big", "float | None"),
        ("shift", float("nan"), "float | None"),
    ])
    def test_what_is_refused(self, field, value, expected):
        with pytest.raises(ValueError, match=rf"Field {field} must be {expected}.*Received: ") as caught:
            Experiment().replace(**{field: value})
        assert repr(value) in str(caught.value)

    @pytest.mark.parametrize("fields, message", [
        ({"model": "mhead_unet"}, "Unknown model 'mhead_unet'. Did you mean mheads_unet"),
        ({"latent_injection": "middle"}, "latent_injection must be one of end, start. Received: 'middle'"),
        ({"num_members": 0}, "num_members must be at least 1. Received: 0"),
        ({"precision": "float16"}, "precision must be one of auto, float32, mixed_bfloat16. Received: 'float16'"),
        ({"schedule": "linear"}, "schedule must be one of piecewise, cosine. Received: 'linear'"),
        ({"schedule_boundaries": (1, 2), "schedule_values": (0.1,)}, "go in pairs.*Received: 2 and 1"),
        ({"steps": 0}, "steps must be at least 1. Received: 0"),
        ({"batch_size": -1}, "batch_size must be at least 1. Received: -1"),
        ({"scale": (0, 1)}, "scale must be two numbers with 0 < smallest <= largest. Received: 0.0, 1.0"),
        ({"gamma": (2, 1)}, "gamma must be two numbers"),
        ({"elastic": -1}, "elastic must be at least 0. Received: -1.0"),
        ({"ema_momentum": 1.5}, "ema_momentum must be at least 0 and below 1, or none. Received: 1.5"),
        ({"seed": -1}, "seed must be at least 0 and below 2..32. Received: -1"),
        ({"elastic_sigma": 0}, "elastic_sigma must be at least 1. Received: 0.0"),
    ])
    def test_what_does_not_go_together(self, fields, message):
        with pytest.raises(ValueError, match=message):
            Experiment(**fields)

    @pytest.mark.parametrize("name, message", [
        ("learning_rat", "Unknown Experiment field 'learning_rat'. Did you mean learning_rate"),
        ("batchsize", "Did you mean batch_size"), ("latent_dims", "Did you mean latent_dim"),
        ("zzzzzz", "Unknown Experiment field 'zzzzzz'. Known: accumulation_steps, .*weight_decay"),
    ])
    def test_an_unknown_field_names_the_near_ones(self, name, message):
        with pytest.raises(ValueError, match=message):
            Experiment().replace(**{name: 1})


class TestUse:
    def test_it_is_frozen_and_replace_gives_a_copy(self):
        experiment = Experiment()
        with pytest.raises(dataclasses.FrozenInstanceError):
            experiment.beta = 2.0
        assert experiment.replace(beta=2).beta == 2.0 and experiment.beta == 1.0

    @pytest.mark.parametrize("steps, per_epoch, epochs", [(9000, 500, 18), (1, 1000, 1), (1001, 1000, 2)])
    def test_the_number_of_epochs_covers_the_steps(self, steps, per_epoch, epochs):
        assert Experiment(steps=steps, steps_per_epoch=per_epoch).num_epochs == epochs

    def test_augmentation_has_the_fields_of_the_same_name(self):
        values = dict(rotation=1.0, mirror=True, scale=(0.5, 2.0), shear=0.1, shift=3.0, elastic=2.0,
                      elastic_sigma=12.0, gamma=(0.5, 1.5), gamma_probability=0.2)
        assert Experiment(**values).augmentation == Augmentation(**values)
        assert Experiment().augmentation == Augmentation()

    def test_differences_are_one_line_a_field(self):
        first, second = Experiment(), Experiment(beta=2.0, channels=(8, 16))
        assert first.differences(first) == []
        assert first.differences(second) == [
            "channels: (32, 64, 128, 256, 512) here, (8, 16) there", "beta: 1.0 here, 2.0 there",
        ]


class TestFile:
    @given(fields=FIELDS)
    def test_a_round_trip(self, tmp_path_factory, fields):
        folder = tmp_path_factory.mktemp("run")
        experiment = Experiment(**fields)
        experiment.save(folder)
        assert os.listdir(folder) == ["experiment.json"]
        assert Experiment.load(folder) == experiment

    def test_the_file_holds_every_field(self, tmp_path):
        Experiment().save(tmp_path)
        found = json.loads((tmp_path / "experiment.json").read_text())
        assert list(found) == [field.name for field in dataclasses.fields(Experiment)]

    def test_no_run(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="Not a run: .* has no experiment.json. Expected.*probunet train"):
            Experiment.load(tmp_path)

    @pytest.mark.parametrize("text, message", [
        (b"{", "cannot be used: .*Take the file from a copy"), (b"\xff", "cannot be used"),
        (b"[1]", r"cannot be used: Expected an object.*Received: \[1\]"),
        (b'{"beeta": 1}', "cannot be used: Unknown Experiment field 'beeta'. Did you mean beta"),
        (b'{"steps": "x"}', "cannot be used: Field steps must be int. Received: 'x'"),
    ])
    def test_a_damaged_file_is_named(self, tmp_path, text, message):
        (tmp_path / "experiment.json").write_bytes(text)
        with pytest.raises(ValueError, match=f"experiment.json {message}"):
            Experiment.load(tmp_path)
