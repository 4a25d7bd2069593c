"""Limits, and inputs that fit their own description but not each other or the model."""

import asyncio
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.saved_model import export
from tf_probunet.serving.server.catalogue import Catalogue
from tf_probunet.serving.server.handler import Handler, answer
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.rest import respond


def handler_of(folder, **limits):
    catalogue = Catalogue(folder)
    catalogue.refresh()
    return Handler(catalogue, Limits(**limits))


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, two_versions):
    """The small model with the signature that takes PNGs."""
    folder = tmp_path_factory.mktemp("encoded")
    export(two_versions[1][1], folder / "tiny", check_size=(32, 32), encoding=ImageEncoding(bits=8), half_features=True)
    return handler_of(folder)


def ask(handler, signature="serving_default", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    serialized, _ = asyncio.run(answer(handler, "Predict", request.SerializeToString()))
    reply = predict_pb2.PredictResponse.FromString(serialized)
    return {name: tf.make_ndarray(proto) for name, proto in reply.outputs.items()}


def refusal(function, *args, **inputs):
    with pytest.raises(Refusal) as caught:
        function(*args, **inputs)
    return f"{caught.value.code}: {caught.value.message}"


def images(*shape):
    return np.random.default_rng(0).random((*shape, 1), np.float32)


def noise(*shape):
    return np.random.default_rng(1).standard_normal((*shape, 3), np.float32)


def test_limits_say_what_they_are_and_what_to_do(two_versions):
    handler = handler_of(two_versions[0], pixels=4096, samples=8, sample_pixels=8192, message_bytes=100_000)
    assert set(ask(handler, images=images(2, 32, 32), noise=noise(2, 4))) == {"segmentations", "probabilities"}
    told = refusal(ask, handler, "trunk", images=images(5, 32, 32))
    assert told == ("INVALID_ARGUMENT: Input images of shape [5,32,32,1] holds 5,120 values; this server takes 4,096 "
                    "at most. Send fewer images at once.")
    assert "draws 8 samples a request at most. Received: 9" in refusal(ask, handler, images=images(1, 32, 32),
                                                                      noise=noise(1, 9))
    assert "8 samples of 2,048 pixels are 16,384; this server draws 8,192" in refusal(
        ask, handler, images=images(2, 32, 32), noise=noise(2, 8))
    assert "The reply would be" in refusal(ask, handler, "trunk", images=images(4, 32, 32))


@pytest.mark.parametrize("fields, words", [({"pixels": 0}, "pixels must be above 0"),
                                           ({"seconds": float("nan")}, "seconds"),
                                           ({"message_bytes": 2**31}, "below 2 GiB")])
def test_limits_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Limits(**fields)


def test_pngs_are_answered_as_their_pixels_are(encoded, two_versions):
    pixels = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 1), np.uint8)
    pngs = [tf.io.encode_png(image).numpy() for image in pixels]
    found = ask(encoded, "encoded", image_bytes=np.array(pngs, object), noise=noise(2, 3))
    logits = two_versions[1][1].sample_from_noise((pixels / 255).astype(np.float32), noise(2, 3))
    expected = tf.reduce_mean(tf.nn.softmax(logits), axis=1)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_what_is_no_png_or_lies_about_its_size_is_refused_before_it_is_decoded(encoded):
    png = bytearray(tf.io.encode_png(np.zeros((32, 32, 1), np.uint8)).numpy())
    for data, words in [(b"", "Received something else, of 0 bytes"), (b"GIF89a" + bytes(40), "must hold PNG images"),
                        (bytes(png[:40]), "INVALID_ARGUMENT: Signature encoded"),
                        (bytes(png[:16] + b"\x7f\xff\xff\xff" * 2 + png[24:]), "pixels a request at most"),
                        (tf.io.encode_png(np.zeros((8, 8, 1), np.uint8)).numpy(), "32x32 or larger")]:
        told = refusal(ask, encoded, "encoded", image_bytes=np.array([data], object), noise=noise(1, 1))
        assert told.startswith("INVALID_ARGUMENT") and words in told, told


def test_features_as_float16_go_out_and_come_back(encoded):
    trunk = ask(encoded, "trunk", images=images(1, 32, 32))
    assert trunk["features"].dtype == np.float16
    combined = ask(encoded, "combiner", features=trunk["features"], latents=noise(1, 2))
    assert combined["logits"].shape == (1, 2, 32, 32, 2)
    assert "type half. Received: float" in refusal(ask, encoded, "combiner", latents=noise(1, 2),
                                                   features=trunk["features"].astype(np.float32))


def test_pngs_over_rest_are_base64(encoded):
    import base64
    import json

    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 1), np.uint8)
    png = {"b64": base64.b64encode(tf.io.encode_png(pixels[0]).numpy()).decode()}
    body = {"signature_name": "encoded", "instances": [{"image_bytes": png, "noise": noise(1, 2)[0].tolist()}]}
    reply, facts = asyncio.run(respond(encoded, "POST", "/v1/models/tiny:predict", json.dumps(body).encode()))
    expected = ask(encoded, images=(pixels / 255).astype(np.float32), noise=noise(1, 2))
    found = json.loads(reply)["predictions"][0]
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"][0], atol=1e-5)
    assert facts == {"model": "tiny", "version": "1", "signature": "encoded"}
    body["instances"][0]["image_bytes"] = {"b64": "no!"}
    with pytest.raises(Refusal, match="must be base64"):
        asyncio.run(respond(encoded, "POST", "/v1/models/tiny:predict", json.dumps(body).encode()))


def test_floats_are_written_so_that_the_same_float_is_read(encoded):
    import json

    values = images(1, 32, 32)
    body = {"signature_name": "trunk", "inputs": values.tolist()}
    reply, _ = asyncio.run(respond(encoded, "POST", "/v1/models/tiny:predict", json.dumps(body).encode()))
    found = json.loads(reply)["outputs"]
    for name, value in ask(encoded, "trunk", images=values).items():
        np.testing.assert_array_equal(np.array(found[name], value.dtype), value)


def test_merged_requests_stay_within_the_limits_of_one(two_versions):
    handler = handler_of(two_versions[0], pixels=4096, sample_pixels=8192, batch_rows=16)
    asked = []
    run = handler.batcher.run

    async def remember(key, call, inputs, rows):
        asked.append(rows)
        return await run(key, call, inputs, rows)

    handler.batcher.run = remember
    ask(handler, "trunk", images=images(1, 32, 32))
    ask(handler, "trunk", images=images(2, 32, 32))
    ask(handler, "trunk", images=images(1, 8, 8))
    ask(handler, images=images(1, 32, 32), noise=noise(1, 4))
    assert asked == [4, 4, 16, 2]


def test_a_request_for_a_version_that_another_replica_has_announced_waits_for_it(two_versions, models_folder):
    handler = handler_of(models_folder)

    async def ask_early():
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "tiny", "trunk"
        request.model_spec.version.value = 2
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images(1, 32, 32)))
        with pytest.raises(Refusal, match="could not find version 2"):
            await handler.predict(request)
        shutil.copytree(two_versions[0] / "tiny" / "2", models_folder / "tiny" / "2")
        asked = asyncio.create_task(handler.predict(request))
        await asyncio.sleep(0.3)
        assert not asked.done()
        await asyncio.to_thread(handler.catalogue.refresh)
        return await asked

    assert asyncio.run(ask_early()).model_spec.version.value == 2
