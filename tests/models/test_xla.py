"""A training step that XLA compiles is the same step; its random numbers alone are others, by TensorFlow's design."""

import keras
import numpy as np
import pytest

from tf_probunet.build import build_model
from tf_probunet.experiment import Experiment

TINY = Experiment(channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal")


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_the_step_is_the_same(precision, tolerance):
    random = np.random.default_rng(0)
    images = random.random((4, 16, 16, 1), np.float32)
    segmentations = (images[..., 0] > 0.5).astype(np.int32)
    found = []
    for jit_compile in (False, True):
        model = build_model(TINY.replace(model="deterministic_unet", precision=precision))
        model.compile(keras.optimizers.SGD(1e-5), jit_compile=jit_compile)
        found.append([model.train_on_batch(images, segmentations, return_dict=True) for _ in range(2)])
    for plain, by_xla in zip(*found, strict=True):
        for name, value in plain.items():
            np.testing.assert_allclose(by_xla[name], value, rtol=tolerance, err_msg=name)


def test_the_probabilistic_unet_learns_under_xla():
    images = np.random.default_rng(0).random((4, 16, 16, 1), np.float32)
    model = build_model(TINY.replace(precision="mixed_bfloat16"))
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=True)
    losses = [model.train_on_batch(images, (images[..., 0] > 0.5).astype(np.int32))[0] for _ in range(20)]
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
