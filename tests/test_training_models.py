"""Every model trains into a run folder that survives a stop, as the Probabilistic U-Net does (`test_training.py`)."""

import numpy as np
import pytest

from tf_probunet import callbacks
from tf_probunet.build import build_model
from tf_probunet.callbacks import read_history
from tf_probunet.experiment import MODEL_FIELDS, Experiment
from tf_probunet.models import MODELS
from tf_probunet.run_folder import LAST_WEIGHTS, load_run
from tf_probunet.training import train

TINY = Experiment(
    name="tiny", channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal",
    crop_size=(16, 16), batch_size=4, steps=4, steps_per_epoch=2, learning_rate=3e-3, validation_images=6,
    validation_samples=3, num_heads=3, num_members=2, precision="float32",
)


def history_of(run):
    return [{name: value for name, value in row.items() if name != "seconds"}
            for row in read_history(run / "history.csv")]


@pytest.mark.parametrize("fields", [
    dict(model="dropout_unet"), dict(model="mheads_unet"), dict(model="image2image_vae", precision="mixed_bfloat16"),
    dict(fixed_prior=True, posterior_sees_image=False), dict(crop_scales=(2.0, 0.5, 1.0)),
], ids=lambda fields: "-".join(fields))
def test_a_run_that_was_stopped_goes_on_as_if_unbroken(fields, tiny_info, tmp_path, monkeypatch):
    experiment = TINY.replace(**fields)
    lines = []
    train(experiment, tiny_info, tmp_path / "unbroken", report=lines.append)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Progress, "on_train_batch_end", on_train_batch_end)
        with pytest.raises(KeyboardInterrupt):
            train(experiment, tiny_info, tmp_path / "run", report=lambda line: None)
    train(experiment, tiny_info, tmp_path / "run", resume=True, report=lambda line: None)
    assert history_of(tmp_path / "run") == history_of(tmp_path / "unbroken")
    (_, model), (_, other) = (load_run(tmp_path / name, LAST_WEIGHTS) for name in ("run", "unbroken"))
    assert type(model) is MODELS[experiment.model]
    for weight, expected in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())
    latent = hasattr(model, "posterior")
    assert ("val_kl" in history_of(tmp_path / "run")[0]) == latent
    assert any("KL" in line for line in lines if line.startswith("epoch")) == latent


@pytest.mark.parametrize("name", MODEL_FIELDS)
def test_fields_of_a_model_are_the_arguments_of_its_class(name):
    model = build_model(TINY.replace(model=name, seed=3))
    config = model.get_config()
    for ours in ("name", "trainable", "dtype", "ignore_label"):  # Keras's own, and what the dataset says
        config.pop(ours)
    assert config == {field: getattr(TINY.replace(seed=3), field) for field in MODEL_FIELDS[name]}
