"""`probunet serve` as a stranger to this project sees it: TensorFlow Serving's two protocols, and nothing of ours."""

import concurrent.futures
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

HERE = Path(__file__).parent
PROBUNET = (sys.executable, "-c", "from tf_probunet.cli.main import run; run()")


def predict_request(signature="serving_default", model="tiny", version=None, label=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def images(batch=2, size=32):
    return np.random.default_rng(0).random((batch, size, size, 1), np.float32)


def noise(batch=2, num_samples=3):
    return np.random.default_rng(1).standard_normal((batch, num_samples, 3), np.float32)


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(served.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def refused(call, *args, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **{"timeout": 30, **options})
    return caught.value.code().name, caught.value.details()


def rest(server, path, content=None, method=None):
    """Status and JSON of a REST call."""
    data = None if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"{server.rest}{path}", data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_client_that_knows_only_tensorflow_serving_gets_what_keras_gives(served, two_versions, tmp_path):
    model = two_versions[1][1]
    features = model.combiner.project_features(model.features(images()))
    np.savez(tmp_path / "requests.npz", **{
        "serving_default/images": images(), "serving_default/noise": noise(), "trunk/images": images(),
        "combiner/features": features, "combiner/latents": noise(),
    })
    subprocess.run([sys.executable, HERE / "plain_client.py", served.grpc, "tiny", tmp_path / "requests.npz",
                    tmp_path / "replies.npz"], check=True)
    replies = np.load(tmp_path / "replies.npz")
    logits = model.sample_from_noise(images(), noise())
    prior = model.prior(images())
    expected = {
        "serving_default/probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1),
        "serving_default/segmentations": tf.argmax(logits, axis=-1),
        "trunk/features": features, "trunk/prior_mean": prior.mean(), "trunk/prior_stddev": prior.stddev(),
        "combiner/logits": model.combiner.combine(features, noise()),
    }
    assert set(replies.files) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(replies[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_requests_of_many_callers_at_once_are_each_answered_with_their_own(stub, two_versions):
    model = two_versions[1][1]
    shapes = [(1 + place % 3, 32 if place % 2 else 64) for place in range(24)]
    sent = [images(*shape) + place / 50 for place, shape in enumerate(shapes)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda value: stub.Predict(predict_request("trunk", images=value), timeout=60), sent))
    for value, reply in zip(sent, replies):
        expected = model.combiner.project_features(model.features(value))
        np.testing.assert_allclose(tf.make_ndarray(reply.outputs["features"]), expected, rtol=1e-5, atol=1e-5)


def test_a_reply_says_who_answered_and_holds_only_the_outputs_asked_for(stub):
    request = predict_request("trunk", images=images())
    request.output_filter.append("prior_mean")
    reply = stub.Predict(request, timeout=30)
    assert (reply.model_spec.name, reply.model_spec.version.value, reply.model_spec.signature_name) == \
        ("tiny", 1, "trunk")
    assert list(reply.outputs) == ["prior_mean"]


def test_metadata_and_status_are_tensorflow_servings(stub, channel, two_versions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    reply = stub.GetModelMetadata(request, timeout=30)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(found)
    loaded = tf.saved_model.load(two_versions[0] / "tiny" / "1").signatures
    assert set(found.signature_def) == set(loaded) == {"serving_default", "trunk", "combiner"}
    for name, signature in loaded.items():
        assert set(found.signature_def[name].inputs) == set(signature.structured_input_signature[1])
        assert set(found.signature_def[name].outputs) == set(signature.structured_outputs)
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
        get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec), timeout=30)
    assert [(entry.version, entry.state) for entry in status.model_version_status] == [(1, 30)]


@pytest.mark.parametrize("request_, code, words", [
    (predict_request(model="other", images=images()), "NOT_FOUND", "any version of model other"),
    (predict_request(model="", images=images()), "INVALID_ARGUMENT", "names no model"),
    (predict_request(version=7, images=images()), "NOT_FOUND", "version 7 of model tiny. Available: 1"),
    (predict_request(label="stable", images=images()), "INVALID_ARGUMENT", "label: stable"),
    (predict_request("other", images=images()), "FAILED_PRECONDITION", 'key "other" not found'),
    (predict_request(images=images()), "INVALID_ARGUMENT", "Missing but required: {noise}"),
    (predict_request("trunk", images=images(), noise=noise()), "INVALID_ARGUMENT", "Sent extra: {noise}"),
    (predict_request("trunk", images=images()[..., 0]), "INVALID_ARGUMENT", "[?,?,?,1], every dimension 1 or more. "
     "Received: [2,32,32]"),
    (predict_request("trunk", images=np.repeat(images(), 3, -1)), "INVALID_ARGUMENT", "Received: [2,32,32,3]"),
    (predict_request("trunk", images=images().astype(int)), "INVALID_ARGUMENT", "type float. Received: int64"),
    (predict_request("trunk", images=images()[:0]), "INVALID_ARGUMENT", "Received: [0,32,32,1]"),
    (predict_request("trunk", images=images()[:, :31]), "INVALID_ARGUMENT", "multiples of 2"),
    (predict_request("trunk", images=images() * np.nan), "INVALID_ARGUMENT", "2,048 values that are NaN"),
    (predict_request(images=images(), noise=noise(3)), "INVALID_ARGUMENT", "images [2,32,32,1], noise [3,3,3]"),
    (predict_request(images=images(), noise=noise(2, 1025)), "INVALID_ARGUMENT", "1,024 samples a request at most"),
])
def test_what_cannot_be_answered_gets_tensorflow_servings_code_and_both_sides(stub, request_, code, words):
    found, details = refused(stub.Predict, request_)
    assert found == code and words in details, details


def test_other_methods_are_told_to_be_unimplemented(stub, channel):
    assert refused(stub.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"
    reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
    assert refused(reload, model_management_pb2.ReloadConfigRequest())[0] == "UNIMPLEMENTED"
    unknown = channel.unary_unary("/tensorflow.serving.PredictionService/Dream")
    assert refused(unknown, b"")[0] == "UNIMPLEMENTED"


def test_a_deadline_is_kept(stub):
    assert refused(stub.Predict, predict_request("trunk", images=images(64, 128)), timeout=0.005)[0] == \
        "DEADLINE_EXCEEDED"


def test_the_rest_examples_of_tensorflow_servings_documentation_work_with_the_names_changed(served, two_versions):
    ok = {"error_code": "OK", "error_message": ""}
    assert rest(served, "/v1/models/tiny") == rest(served, "/v1/models/tiny/versions/1") == (
        200, {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]})
    status, metadata = rest(served, "/v1/models/tiny/metadata")
    assert status == 200 and metadata["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    trunk = metadata["metadata"]["signature_def"]["signature_def"]["trunk"]
    assert [size["size"] for size in trunk["inputs"]["images"]["tensor_shape"]["dim"]] == ["-1", "-1", "-1", "1"]
    assert trunk["inputs"]["images"]["dtype"] == "DT_FLOAT" and trunk["method_name"] == "tensorflow/serving/predict"
    logits = two_versions[1][1].sample_from_noise(images(), noise()).numpy()
    probabilities = tf.reduce_mean(tf.nn.softmax(logits), axis=1).numpy()
    rows = [{"images": image.tolist(), "noise": draws.tolist()} for image, draws in zip(images(), noise())]
    status, by_row = rest(served, "/v1/models/tiny:predict", {"instances": rows})
    assert status == 200 and set(by_row["predictions"][0]) == {"segmentations", "probabilities"}
    status, by_column = rest(served, "/v1/models/tiny/versions/1:predict", {
        "signature_name": "serving_default", "inputs": {"images": images().tolist(), "noise": noise().tolist()}})
    assert status == 200
    for found in (by_column["outputs"], {name: [row[name] for row in by_row["predictions"]]
                                         for name in ("segmentations", "probabilities")}):
        np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
        np.testing.assert_array_equal(found["segmentations"], logits.argmax(-1))


@pytest.mark.parametrize("path, content, status, words", [
    ("/v1/models/other", None, 404, "any versions of model other"),
    ("/v1/models/tiny/versions/9", None, 404, "version 9 of model tiny"),
    ("/v1/models/tiny/labels/stable", None, 400, "label: stable"),
    ("/v2/models/tiny", None, 404, "no such resource"),
    ("/v1/models/..%2f..%2fetc/metadata", None, 404, "no such resource"),
    ("/v1/models/tiny:classify", {}, 501, "do not classify"),
    ("/v1/models/tiny:predict", None, 400, "for POST. Received: GET"),
    ("/v1/models/tiny:predict", b"{", 400, "JSON Parse error"),
    ("/v1/models/tiny:predict", b"[" * 100_000, 400, "JSON Parse error"),
    ("/v1/models/tiny:predict", b"\xff", 400, "JSON Parse error"),
    ("/v1/models/tiny:predict", [1], 400, "must be a JSON object. Received: a list"),
    ("/v1/models/tiny:predict", {}, 400, "one of 'instances' (row format) and 'inputs'"),
    ("/v1/models/tiny:predict", {"signature_name": 7, "instances": [1]}, 400, "must be a string"),
    ("/v1/models/tiny:predict", {"signature_name": "other", "instances": [1]}, 400, 'key "other" not found'),
    ("/v1/models/tiny:predict", {"signature_name": "trunk", "instances": []}, 400, "at least one"),
    ("/v1/models/tiny:predict", {"signature_name": "trunk", "instances": [[[[1]], [[1], [2]]]]}, 400, "same length"),
    ("/v1/models/tiny:predict", {"signature_name": "trunk", "instances": [[[["1"]]]]}, 400, "numbers only"),
    ("/v1/models/tiny:predict", {"signature_name": "trunk", "instances": [[[[True]]]]}, 400, "numbers only"),
    ("/v1/models/tiny:predict", {"signature_name": "trunk", "instances": [[[[None]]]]}, 400, "Input images"),
    ("/v1/models/tiny:predict", {"instances": [{"images": 1, "noise": 1}, {"images": 1}]}, 400, "number 1 differs"),
    ("/v1/models/tiny:predict", {"inputs": 3}, 400, "keys images, noise. Received: a number"),
])
def test_rest_errors_are_json_with_tensorflow_servings_status(served, path, content, status, words):
    found, answer = rest(served, path, content)
    assert found == status and words in answer["error"], answer


def test_health_metrics_and_logs_tell_outcomes_and_neither_pixels_nor_names(served, stub):
    stub.Predict(predict_request("trunk", images=images()), timeout=30)
    refused(stub.Predict, predict_request(model="patient_of_ward_7", images=images()))
    assert rest(served, "/healthz") == (200, {"models": ["tiny"]})
    with urllib.request.urlopen(f"{served.rest}/monitoring/prometheus/metrics", timeout=30) as response:
        metrics = response.read().decode()
    assert 'tf_probunet_requests_total{code="NOT_FOUND",method="Predict",protocol="grpc"}' in metrics
    assert 'model="tiny",protocol="grpc",signature="trunk",version="1"' in metrics
    lines = [json.loads(line) for line in served.text().splitlines() if line.startswith("{")]
    assert {"available", "request"} <= {line["event"] for line in lines}
    known = {"time", "level", "event", "model", "version", "signature", "protocol", "method", "code", "milliseconds",
             "request_bytes", "reply_bytes"}
    assert all(set(line) <= known for line in lines)
    assert "ward" not in served.text() + metrics


def test_a_second_server_on_the_same_port_is_told_so(served, models_folder):
    command = [*PROBUNET, "serve", "--saved_models", str(models_folder),
               "--port", str(served.port), "--rest_port", "0"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"Port {served.port} of 127.0.0.1 cannot be opened: Address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_models_is_told_so(tmp_path):
    command = [*PROBUNET, "serve", "--saved_models", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and "holds no model" in result.stderr and "Traceback" not in result.stderr


def test_a_damaged_configuration_is_told_before_anything_starts(models_folder, tmp_path):
    folder = shutil.copytree(models_folder, tmp_path / "models")
    (folder / "models.config").write_text("model_config_list {")
    result = subprocess.run([*PROBUNET, "serve", "--saved_models", folder], capture_output=True, text=True)
    assert result.returncode == 1 and "models.config is no ModelServerConfig" in result.stderr
    assert "Traceback" not in result.stderr and "Loading" not in result.stdout


def test_without_its_extra_the_command_names_it(tmp_path, two_versions):
    code = ("import importlib.util, sys; find = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
            "from tf_probunet.cli.main import run; run()")
    result = subprocess.run([sys.executable, "-c", code, "serve", "--saved_models", str(two_versions[0])],
                            capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "probunet serve needs ray: pip install 'tf_probunet[serving]'" in result.stderr
