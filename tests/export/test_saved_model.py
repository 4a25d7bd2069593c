"""The exported signatures equal Keras in every loader, and a version appears whole or not at all."""

import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from cpp_loader import CppSavedModel
from tensorflow_serving.apis import prediction_log_pb2

from tf_probunet.export import saved_model
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.manifest import read_manifest
from tf_probunet.export.signatures import Signatures
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.models import DeterministicUNet, Image2ImageVAE, MHeadsUNet, ProbabilisticUNet, UNetEnsemble

SIGNATURES = {
    "serving_default": ({"images", "noise"}, {"segmentations", "probabilities"}),
    "trunk": ({"images"}, {"features", "prior_mean", "prior_stddev"}),
    "combiner": ({"features", "latents"}, {"logits"}),
}


def tiny_model(num_classes=2, image_channels=1, **options):
    keras.utils.set_random_seed(0)
    model = ProbabilisticUNet(num_classes=num_classes, image_channels=image_channels, channels=(4, 8), latent_dim=3,
                              combiner_channels=(8, 8), initializer="he_normal", **options)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:  # an untrained posterior is too near zero to show a wrong one
        variable.assign(variable + 0.2 * rng.standard_normal(variable.shape))
    if (num_classes, image_channels) == (2, 1):  # about as much of either class, or masks compare nothing with nothing
        logits = model.sample(inputs()[0], num_samples=8).numpy()
        model.combiner.logits.bias.assign_sub([0.0, np.median(logits[..., 1] - logits[..., 0])])
    return model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return saved_model.export(model, tmp_path_factory.mktemp("saved_models") / "tiny", check_size=(32, 32))


@pytest.fixture(scope="module", params=["python", "c++"])
def call(request, version):
    """Calls a signature through one loader or the other: name and numpy inputs to numpy outputs."""
    if request.param == "c++":
        return CppSavedModel(version).run
    signatures = tf.saved_model.load(version).signatures
    return lambda name, **inputs: {
        key: value.numpy()
        for key, value in signatures[name](**{key: tf.constant(value) for key, value in inputs.items()}).items()
    }


def inputs(batch=2, samples=5, height=16, width=32, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((batch, height, width, 1), np.float32), rng.standard_normal((batch, samples, 3), np.float32)


@pytest.mark.parametrize("shape", [dict(), dict(batch=1, samples=1), dict(batch=3, height=64, width=16)])
def test_serving_default_equals_keras(model, call, shape):
    images, noise = inputs(**shape)
    logits = model.sample_from_noise(tf.constant(images), tf.constant(noise)).numpy()
    outputs = call("serving_default", images=images, noise=noise)
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = (exponent / exponent.sum(-1, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-4)
    assert outputs["segmentations"].dtype == np.uint8
    margin = np.abs(logits[..., 1] - logits[..., 0])
    agree = outputs["segmentations"] == logits.argmax(-1)
    assert agree[margin > 1e-4].all()
    assert 0 < outputs["segmentations"].mean() < 1  # else this test shows nothing


def test_trunk_and_combiner_make_what_decode_makes(model, call):
    images, noise = inputs()
    trunk = call("trunk", images=images)
    prior = model.prior(images)
    np.testing.assert_allclose(trunk["prior_mean"], prior.mean(), atol=1e-4)
    np.testing.assert_allclose(trunk["prior_stddev"], prior.stddev(), atol=1e-4)
    latents = (trunk["prior_mean"][:, None] + trunk["prior_stddev"][:, None] * noise).astype(np.float32)
    logits = call("combiner", features=trunk["features"], latents=latents)["logits"]
    expected = model.decode(model.features(images), tf.constant(latents))
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert logits.shape == (2, 5, 16, 32, 2)


def test_a_fixed_prior_exports_as_a_net_does(tmp_path):
    model = tiny_model(fixed_prior=True, posterior_sees_image=False)
    version = saved_model.export(model, tmp_path / "fixed", check_size=(32, 32))
    call = CppSavedModel(version).run
    images, noise = inputs()
    trunk = call("trunk", images=images)
    np.testing.assert_array_equal(trunk["prior_mean"], np.zeros((2, 3)))
    np.testing.assert_array_equal(trunk["prior_stddev"], np.ones((2, 3)))
    probabilities = np.mean(tf.nn.softmax(model.sample_from_noise(images, noise)), axis=1)
    np.testing.assert_allclose(call("serving_default", images=images, noise=noise)["probabilities"], probabilities,
                               atol=1e-4)
    segmentations, _ = ExportedModel(version).sample(images, 4, seed=(1, 2))
    assert (segmentations == np.argmax(model.sample(images, 4, seed=(1, 2)), axis=-1)).mean() > 0.999


@pytest.mark.parametrize("make, kind", [
    (DeterministicUNet, "DeterministicUNet"), (MHeadsUNet, "MHeadsUNet"), (UNetEnsemble, "UNetEnsemble"),
    (Image2ImageVAE, "Image2ImageVAE, whose latents come in at the start of the U-Net"),
    (lambda **options: ProbabilisticUNet(latent_injection="start", **options),
     "ProbabilisticUNet, whose latents come in at the start of the U-Net"),
])
def test_models_without_trunk_and_combiner_are_refused(tmp_path, make, kind):
    with pytest.raises(ValueError, match=f"ProbabilisticUNet with latent_injection='end'. Received: {kind}"):
        saved_model.export(make(channels=(4, 8)), tmp_path / "other")
    assert not list(tmp_path.iterdir())


def test_has_exactly_the_three_signatures(version):
    signatures = CppSavedModel(version).signatures
    assert {name: (set(one.inputs), set(one.outputs)) for name, one in signatures.items()} == SIGNATURES
    shape = [dim.size for dim in signatures["serving_default"].inputs["noise"].tensor_shape.dim]
    assert shape == [-1, -1, 3]


def test_saved_model_cli_names_them(version):
    cli = os.path.join(os.path.dirname(sys.executable), "saved_model_cli")
    shown = subprocess.run([cli, "show", "--dir", version, "--tag_set", "serve"], capture_output=True, text=True,
                           check=True).stdout
    named = {line.split('"')[1] for line in shown.splitlines() if line.startswith("SignatureDef key")}
    assert {name for name in named if not name.startswith("__")} == set(SIGNATURES)


def test_several_classes_and_channels(tmp_path):
    model = tiny_model(num_classes=5, image_channels=3, segmentation_encoding="one_hot_centered",
                       upsampling="bilinear_aligned")
    version = saved_model.export(model, tmp_path / "many", check_size=(16, 16))
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    outputs = CppSavedModel(version).run("serving_default", images=images, noise=np.zeros((1, 2, 3), np.float32))
    np.testing.assert_allclose(outputs["probabilities"][0], tf.nn.softmax(model(images))[0], atol=1e-4)


def test_warm_up_requests_replay_through_the_c_loader(version):
    loaded = CppSavedModel(version)
    replayed = []
    for raw in tf.data.TFRecordDataset(str(version / saved_model.WARM_UP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(raw).predict_log.request
        assert request.model_spec.name == "tiny"
        name = request.model_spec.signature_name
        outputs = loaded.run(name, **{key: tf.make_ndarray(value) for key, value in request.inputs.items()})
        assert set(outputs) == SIGNATURES[name][1]
        replayed.append(name)
    assert sorted(replayed) == sorted(SIGNATURES)


def test_posterior_is_left_behind_and_nothing_is_stored_twice(model, version):
    needed = sum(part.count_params() for part in (model.unet, model.prior_net, model.combiner))
    stored = (version / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert 4 * needed <= stored < 4 * needed + 20_000


def test_exported_model_draws_keras_samples(model, version):
    images, _ = inputs()
    segmentations, probabilities = ExportedModel(version).sample(images, num_samples=4, seed=(7, 1))
    logits = model.sample(images, num_samples=4, seed=(7, 1)).numpy()
    margin = np.abs(logits[..., 1] - logits[..., 0])
    assert (segmentations == np.argmax(logits, -1))[margin > 1e-4].all()
    np.testing.assert_allclose(probabilities, tf.reduce_mean(tf.nn.softmax(logits), 1), atol=1e-4)


def test_exported_model_refuses_sizes_that_do_not_divide(version):
    with pytest.raises(ValueError, match=r"multiples of 2 \(1 downsamplings\). Received: 15x16"):
        ExportedModel(version).sample(np.zeros((1, 15, 16, 1), np.float32))


def test_versions_count_up_and_newest_is_loaded(model, tmp_path):
    first = saved_model.export(model, tmp_path / "tiny", check_size=(16, 16))
    (tmp_path / "tiny" / "notes").mkdir()  # not a version
    second = saved_model.export(model, tmp_path / "tiny", check_size=(16, 16))
    assert (first.name, second.name) == ("1", "2")
    assert ExportedModel(tmp_path / "tiny").folder == second
    assert version_numbers(tmp_path / "tiny") == [1, 2]


def test_manifest_notices_a_changed_missing_and_new_file(model, tmp_path):
    version = saved_model.export(model, tmp_path / "tiny", facts={"metrics": {"x": 1}}, check_size=(16, 16))
    assert read_manifest(version)["metrics"] == {"x": 1}
    data = version / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    with pytest.raises(OSError, match="variables.data.* was changed"):
        ExportedModel(version)
    data.unlink()
    with pytest.raises(OSError, match="variables.data.* is missing"):
        ExportedModel(version)
    content[1000] ^= 1
    data.write_bytes(content)
    (version / "extra").write_text("")
    with pytest.raises(OSError, match="extra is not listed"):
        ExportedModel(version)


def test_differing_numbers_are_not_exported(model, tmp_path, monkeypatch):
    right = Signatures.trunk
    monkeypatch.setattr(Signatures, "trunk",
                        lambda self, images: right(self, images) | {"prior_mean": right(self, images)["prior_stddev"]})
    with pytest.raises(ValueError, match="differs from Keras"):
        saved_model.export(model, tmp_path / "wrong", check_size=(16, 16))
    assert list((tmp_path / "wrong").iterdir()) == []


def test_mixed_precision_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Only float32"):
        saved_model.export(tiny_model(dtype="mixed_bfloat16"), tmp_path / "mixed")


def test_missing_folder_names_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist. Expected a folder that `probunet export` wrote"):
        ExportedModel(tmp_path / "none")


EXPORT_FOREVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_saved_model import tiny_model
from tf_probunet.export.saved_model import export
model = tiny_model()
print("ready", flush=True)
while True:
    print(export(model, sys.argv[1], check_size=(16, 16)), flush=True)
"""


def test_killed_export_leaves_only_versions_that_load(tmp_path):
    output, here = tmp_path / "tiny", os.path.dirname(__file__)
    rng = np.random.default_rng()  # any moment must do
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", EXPORT_FOREVER, output, here], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0.2, 4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    for number in version_numbers(output):
        read_manifest(output / str(number))
        CppSavedModel(output / str(number))
    # The next export sweeps what the killed ones left of its version.
    version = saved_model.export(tiny_model(), output, check_size=(16, 16))
    assert not list(output.glob(f".{version.name}.partial-*"))
