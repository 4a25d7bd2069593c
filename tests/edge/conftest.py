"""A tiny exported version for the files of devices, and a GPU in software: Chromium's Vulkan driver."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.saved_model import export
from tf_probunet.models import ProbabilisticUNet

SOFTWARE_GPU = Path("/usr/lib/chromium/vk_swiftshader_icd.json")  # of Debian's package chromium-common


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A version of a model whose samples differ, trained on nothing, for images of 32x32."""
    return _export_tiny(tmp_path_factory.mktemp("saved_models") / "tiny")


@pytest.fixture(scope="session", params=["instance", "filter_response"])
def normalized(tmp_path_factory, request):
    """The same with normalization."""
    return _export_tiny(tmp_path_factory.mktemp("saved_models") / "normalized", normalization=request.param)


def _export_tiny(folder, **arguments):
    keras.utils.set_random_seed(0)
    model = ProbabilisticUNet(num_classes=2, image_channels=1, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8),
                              initializer="he_normal", **arguments)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.2 * rng.standard_normal(variable.shape))
    images = rng.random((2, 32, 32, 1), np.float32)
    logits = model.sample(images, num_samples=8).numpy()
    model.combiner.logits.bias.assign_sub([0.0, np.median(logits[..., 1] - logits[..., 0])])
    return ExportedModel(export(model, folder, facts={"experiment": {"crop_size": [32, 32]}}, check_size=(32, 32)))


@pytest.fixture(scope="session")
def trunk(exported):
    """What the trunk gives of two images: the images, and features, prior_mean and prior_stddev as numpy arrays."""
    images = np.random.default_rng(1).random((2, 32, 32, 1), np.float32)
    outputs = exported.signatures["trunk"](images=images)
    return images, {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture
def software_gpu(monkeypatch):
    """Processes that are started by the test find a GPU."""
    if not SOFTWARE_GPU.is_file():
        pytest.skip("no GPU in software: Debian's package chromium-common is not installed (make test installs it)")
    monkeypatch.setenv("VK_ICD_FILENAMES", os.fspath(SOFTWARE_GPU))


@pytest.fixture
def no_gpu(monkeypatch):
    """Processes that are started by the test find none, whatever the machine has."""
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent.json")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent.json")
