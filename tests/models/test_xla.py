"""A training step that XLA compiles is the same step; its random numbers alone are others, by TensorFlow's design."""

import time

import keras
import numpy as np
import pytest

from tf_probunet.build import build_model
from tf_probunet.experiment import Experiment
from tf_probunet.models import MODELS

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


@pytest.mark.parametrize("fields", [*(dict(model=name) for name in MODELS), dict(latent_injection="start"),
                                    dict(precision="mixed_bfloat16")],
                         ids=lambda fields: next(iter(fields.values())))
def test_every_model_learns_and_is_compiled_once(fields):
    """Weights that XLA takes for constants would have each step compiled anew, which takes seconds instead of
    milliseconds."""
    images = np.random.default_rng(0).random((4, 16, 16, 1), np.float32)
    model = build_model(TINY.replace(num_heads=2, num_members=2, **fields))
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=True)
    losses, seconds = [], []
    for _ in range(20):
        start = time.perf_counter()
        losses.append(model.train_on_batch(images, (images[..., 0] > 0.5).astype(np.int32))[0])
        seconds.append(time.perf_counter() - start)
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert sum(seconds[1:]) < seconds[0]
