"""What an export may have beside its three signatures: PNGs as input, features of half the bytes."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from cpp_loader import CppSavedModel
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2
from test_saved_model import SIGNATURES, tiny_model

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export import saved_model
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.manifest import read_manifest

CT = ImageEncoding(bits=16, offset=-1024.0, unit="HU", low=-1000.0, high=400.0)
COLOUR = ImageEncoding(channels=3, high=200.0)


def png(stored):
    """A PNG of integers [H, W] or [H, W, 3], written by Pillow."""
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG")
    return file.getvalue()


def signatures(version):
    return tf.saved_model.load(version).signatures


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def encoded(model, tmp_path_factory):
    """A version that takes 16 bit PNGs."""
    return saved_model.export(model, tmp_path_factory.mktemp("encoded") / "tiny", check_size=(16, 24), encoding=CT)


@pytest.fixture(scope="module")
def half(model, tmp_path_factory):
    """A version whose features are float16."""
    return saved_model.export(model, tmp_path_factory.mktemp("half") / "tiny", check_size=(16, 16), half_features=True)


class TestEncoded:
    @pytest.mark.parametrize("height, width", [(16, 24), (17, 30), (40, 24)])
    def test_shows_the_model_the_middle_of_16_bit_images(self, model, encoded, height, width):
        rng = np.random.default_rng(height)
        stored = rng.integers(0, 2000, (2, height, width)).astype(np.uint16)
        noise = rng.standard_normal((2, 5, 3), np.float32)
        outputs = signatures(encoded)["encoded"](image_bytes=tf.constant([png(one) for one in stored]), noise=noise)
        top, left = (height - 16) // 2, (width - 24) // 2
        physical = stored[:, top: top + 16, left: left + 24, None].astype(np.float32) - 1024
        logits = model.sample_from_noise(np.clip((physical + 1000) / 1400, 0, 1), noise)
        np.testing.assert_allclose(outputs["probabilities"], tf.reduce_mean(tf.nn.softmax(logits), 1), atol=1e-4)
        margin = np.abs(logits[..., 1] - logits[..., 0])
        agree = outputs["segmentations"].numpy() == np.argmax(logits, -1)
        assert agree[margin > 1e-3].all() and 0 < outputs["segmentations"].numpy().mean() < 1

    def test_of_8_bit_colours(self, tmp_path):
        model = tiny_model(num_classes=5, image_channels=3)
        version = saved_model.export(model, tmp_path / "colour", check_size=(16, 16), encoding=COLOUR)
        stored = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
        noise = np.ones((1, 2, 3), np.float32)
        outputs = signatures(version)["encoded"](image_bytes=tf.constant([png(stored[0])]), noise=noise)
        logits = model.sample_from_noise(np.clip(stored / np.float32(200), 0, 1), noise)
        np.testing.assert_allclose(outputs["probabilities"], tf.reduce_mean(tf.nn.softmax(logits), 1), atol=1e-4)

    def test_refuses_images_that_are_too_small(self, encoded):
        small = tf.constant([png(np.zeros((16, 23), np.uint16))])
        with pytest.raises(tf.errors.InvalidArgumentError, match="takes images of 16x24 or larger"):
            signatures(encoded)["encoded"](image_bytes=small, noise=tf.zeros((1, 1, 3)))

    def test_refuses_what_is_no_png(self, encoded):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures(encoded)["encoded"](image_bytes=tf.constant([b"no image"]), noise=tf.zeros((1, 1, 3)))

    def test_is_a_fourth_signature_with_a_warm_up_request(self, encoded):
        loaded = CppSavedModel(encoded)
        assert {name: (set(one.inputs), set(one.outputs)) for name, one in loaded.signatures.items()} == SIGNATURES | {
            "encoded": ({"image_bytes", "noise"}, SIGNATURES["serving_default"][1])}
        shape = loaded.signatures["encoded"].inputs["image_bytes"].tensor_shape
        assert [dim.size for dim in shape.dim] == [-1]
        requests = [prediction_log_pb2.PredictionLog.FromString(raw).predict_log.request for raw in
                    tf.data.TFRecordDataset(str(encoded / saved_model.WARM_UP)).as_numpy_iterator()]
        (request,) = (one for one in requests if one.model_spec.signature_name == "encoded")
        outputs = signatures(encoded)["encoded"](
            **{key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()})
        assert outputs["segmentations"].shape == (1, 3, 16, 24)

    def test_channels_must_be_the_models(self, tmp_path):
        with pytest.raises(ValueError, match="The model sees 1 channels; the images' encoding has 3"):
            saved_model.export(tiny_model(), tmp_path / "tiny", encoding=COLOUR)
        assert not list(tmp_path.iterdir())


class TestHalfFeatures:
    def test_are_half_the_bytes_and_give_nearly_the_same_samples(self, model, half):
        rng = np.random.default_rng(0)
        images, noise = rng.random((2, 16, 16, 1), np.float32), rng.standard_normal((2, 4, 3), np.float32)
        loaded = signatures(half)
        trunk = loaded["trunk"](images=images)
        assert trunk["features"].dtype == tf.float16 and trunk["prior_mean"].dtype == tf.float32
        latents = trunk["prior_mean"][:, None] + trunk["prior_stddev"][:, None] * noise
        logits = loaded["combiner"](features=trunk["features"], latents=latents)["logits"]
        assert logits.dtype == tf.float32
        expected = model.sample_from_noise(images, noise)
        error = np.abs(logits - expected) / (1 + np.abs(expected))
        assert 0 < error.max() < 5e-3
        outputs = loaded["serving_default"](images=images, noise=noise)  # where nothing travels, nothing is lost
        np.testing.assert_allclose(outputs["probabilities"], tf.reduce_mean(tf.nn.softmax(expected), 1), atol=1e-4)

    def test_manifest_says_so(self, half):
        assert read_manifest(half)["half_features"] is True
        assert ExportedModel(half).sample(np.zeros((1, 16, 16, 1), np.float32), 2)[0].shape == (1, 2, 16, 16)

    def test_features_too_large_for_float16_are_refused(self, tmp_path):
        model = tiny_model()
        model.combiner.hidden[0].bias.assign_add(np.full(8, 1e5, np.float32))
        with pytest.raises(ValueError, match="Signature trunk: features differs from Keras by (inf|nan)"):
            saved_model.export(model, tmp_path / "large", check_size=(16, 16), half_features=True)
        assert not list((tmp_path / "large").iterdir())


def test_the_command_line_offers_both(tiny_run, tmp_path, capsys):
    from tf_probunet.cli.main import main

    status = main(["export", "--run", str(tiny_run), "--output", str(tmp_path / "tiny"), "--encoded",
                   "--half_features"])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "serving_default, trunk, combiner and encoded, each equal to Keras to 11 bits" in said.out
    version = tmp_path / "tiny" / "1"
    assert json.loads((version / "manifest.json").read_text())["half_features"] is True
    assert "encoded" in signatures(version)
