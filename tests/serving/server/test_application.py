"""The same application behind Ray's own proxies, as on a cluster: stubs made for TensorFlow Serving do not notice."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tf_probunet.serving.application import build

HERE = Path(__file__).parent
CLUSTER = """
import sys, time
from tf_probunet.serving import ray_environment
ray_environment.prepare()
import ray
from ray import serve
from tf_probunet.serving.application import build
folder, port, rest_port = sys.argv[1:]
ray.init(include_dashboard=False, object_store_memory=2**27, log_to_driver=False)
apis = "tensorflow_serving.apis."
serve.start(http_options={"host": "127.0.0.1", "port": int(rest_port)}, grpc_options={
    "port": int(port), "grpc_servicer_functions": [
        apis + "prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server",
        apis + "model_service_pb2_grpc.add_ModelServiceServicer_to_server"]})
serve.run(build({"saved_models": folder, "samples": "8"}), name="tf_probunet", route_prefix="/")
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(two_versions):
    ports = free_port(), free_port()
    process = subprocess.Popen([sys.executable, "-c", CLUSTER, str(two_versions[0]), *map(str, ports)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert any("ready" in line for line in process.stdout)
    yield ports
    process.stdin.close()
    assert process.wait(60) == 0


def test_the_plain_client_gets_what_keras_gives_through_rays_proxy(cluster, two_versions, tmp_path):
    images = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    noise = np.random.default_rng(1).standard_normal((2, 3, 3), np.float32)
    np.savez(tmp_path / "requests.npz", **{"serving_default/images": images, "serving_default/noise": noise})
    subprocess.run([sys.executable, HERE / "plain_client.py", f"localhost:{cluster[0]}", "tiny",
                    tmp_path / "requests.npz", tmp_path / "replies.npz"], check=True)
    logits = two_versions[1][2].sample_from_noise(images, noise)  # the newest version
    np.testing.assert_allclose(np.load(tmp_path / "replies.npz")["serving_default/probabilities"],
                               tf.reduce_mean(tf.nn.softmax(logits), axis=1), atol=1e-5)


def test_rays_proxies_pass_on_tensorflow_servings_codes(cluster):
    request = predict_pb2.PredictRequest()
    with grpc.insecure_channel(f"localhost:{cluster[0]}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for name, signature, code in [("other", "", "NOT_FOUND"), ("tiny", "other", "FAILED_PRECONDITION"),
                                      ("tiny", "trunk", "INVALID_ARGUMENT")]:
            request.model_spec.name, request.model_spec.signature_name = name, signature
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request, timeout=30)
            assert caught.value.code().name == code
        assert "Missing but required: {images}" in caught.value.details()


def test_rest_goes_through_rays_proxy_too(cluster):
    address = f"http://localhost:{cluster[1]}/v1/models"
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{address}/tiny", timeout=30) as response:
                found = json.loads(response.read())
            break
        except urllib.error.HTTPError:
            assert time.monotonic() < end
            time.sleep(0.2)
    assert [(entry["version"], entry["state"]) for entry in found["model_version_status"]] == [("2", "AVAILABLE")]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{address}/other", timeout=30)
    assert caught.value.code == 404 and "any versions of model other" in json.loads(caught.value.read())["error"]


@pytest.mark.parametrize("args, words", [
    ({}, "Received: nothing"), ({"saved_models": "x", "pixel": 1}, "Received: pixel, saved_models"),
    ({"saved_models": "x", "pixels": "0"}, "pixels must be above 0"), ({"saved_models": "x", "threads": "two"}, "two"),
])
def test_arguments_that_make_no_sense_are_refused_before_anything_starts(args, words):
    with pytest.raises(ValueError, match=words):
        build(args)
