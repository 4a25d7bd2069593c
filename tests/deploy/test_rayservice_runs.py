"""The RayService's configuration, run by Ray on this machine: `serve run`, with fewer cores and other ports."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import yaml
from deploy_files import DEPLOY, ROOT, SAVED_MODELS, document

SERVE_RUN = """
import sys
from tf_probunet.serving import ray_environment
ray_environment.prepare()
from ray.serve.scripts import cli
cli(["run", sys.argv[1]])
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_ray_serves_by_it(tmp_path):
    config = yaml.safe_load(document(DEPLOY / "kubernetes" / "ray" / "rayservice.yaml")["spec"]["serveConfigV2"])
    config["http_options"].update(host="127.0.0.1", port=free_port())
    config["grpc_options"]["port"] = free_port()
    config["applications"][0]["args"].update(saved_models=str(SAVED_MODELS), threads=1)
    (deployment,) = config["applications"][0]["deployments"]
    deployment["autoscaling_config"].update(min_replicas=1, max_replicas=1)
    deployment["ray_actor_options"]["num_cpus"] = 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))

    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVE_RUN, tmp_path / "config.yaml"], stdout=log, stderr=log)
    try:
        status = wait_for_status(f"http://127.0.0.1:{config['http_options']['port']}/v1/models/lidc", process)
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
        # What KubeRay's readiness probe asks for.
        with urllib.request.urlopen(f"http://127.0.0.1:{config['http_options']['port']}/-/healthz") as response:
            assert response.read() == b"success"
        rng = np.random.default_rng(0)
        images, noise = rng.random((2, 64, 64, 1), np.float32), rng.standard_normal((2, 3, 6), np.float32)
        np.savez(tmp_path / "requests.npz", **{"serving_default/images": images, "serving_default/noise": noise})
        subprocess.run([sys.executable, ROOT / "tests" / "serving" / "server" / "plain_client.py",
                        f"127.0.0.1:{config['grpc_options']['port']}", "lidc", tmp_path / "requests.npz",
                        tmp_path / "replies.npz"], check=True)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"{error!r}\n{(tmp_path / 'log').read_text()[-3000:]}")
    finally:
        process.terminate()
        process.wait(60)
    expected = tf.saved_model.load(SAVED_MODELS / "lidc" / "1").signatures["serving_default"](
        images=tf.constant(images), noise=tf.constant(noise))
    replies = np.load(tmp_path / "replies.npz")
    np.testing.assert_allclose(replies["serving_default/probabilities"], expected["probabilities"], atol=1e-5)
    assert (replies["serving_default/segmentations"] == expected["segmentations"].numpy()).mean() > 0.999


def wait_for_status(address, process):
    """The model's status, as soon as the proxy knows the application and a replica has its models."""
    end = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                return json.loads(response.read())
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "Ray has ended"
            assert time.monotonic() < end, "no status within 300 seconds"
            time.sleep(0.5)
