"""TensorFlow Serving's configuration files: parsed by its schemas, and true of the models that they are for."""

import importlib.util
import shutil
import subprocess
import sys
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
import trustme
from deploy_files import DEPLOY, SAVED_MODELS, document, parse
from google.protobuf import text_format
from serving_schemas import BatchingParameters, MonitoringConfig, SSLConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tf_probunet.serving.model_config import NAME
from tf_probunet.serving.server.ports import METRICS_PATH
from tf_probunet.serving.versions import find_versions, label_version

FOLDER = DEPLOY / "tensorflow_serving"
MAKE_SSL_CONFIG = FOLDER / "make_ssl_config.py"


class TestModels:
    def test_is_what_labelling_the_shipped_models_writes(self, tmp_path):
        shutil.copytree(SAVED_MODELS, tmp_path / "models", ignore=lambda *_: [NAME])
        label_version(tmp_path / "models", "lidc", "stable")
        assert parse(DEPLOY / "models" / "models.config", ModelServerConfig) == parse(
            tmp_path / "models" / NAME, ModelServerConfig)

    def test_names_models_and_versions_that_are_there(self):
        there = {(version.model, version.number) for version in find_versions(SAVED_MODELS)}
        for config in parse(DEPLOY / "models" / "models.config", ModelServerConfig).model_config_list.config:
            assert config.base_path == f"/models/{config.name}" and config.model_platform == "tensorflow"
            assert {(config.name, number) for number in config.version_labels.values()} <= there


class TestBatching:
    batching = parse(FOLDER / "batching.config", BatchingParameters)

    def test_has_bounds(self):
        assert self.batching.max_batch_size.value >= 16  # the largest request, too: limits of `probunet serve`
        assert 1 <= self.batching.num_batch_threads.value <= self.batching.max_enqueued_batches.value
        assert 0 <= self.batching.batch_timeout_micros.value <= 10_000

    def test_adds_nothing_to_requests(self):
        """Neither pixels, which convolutions would see, nor rows, which would cost time."""
        assert not self.batching.pad_variable_length_inputs and not self.batching.allowed_batch_sizes

    def test_merging_rows_changes_no_answer_and_padding_images_does(self):
        loaded = tf.saved_model.load(SAVED_MODELS / "lidc" / "1")
        rng = np.random.default_rng(0)
        images = rng.random((3, 32, 32, 1), np.float32)
        inputs = {
            "serving_default": {"images": images, "noise": rng.standard_normal((3, 2, 6), np.float32)},
            "trunk": {"images": images},
            "combiner": {"features": rng.standard_normal((3, 32, 32, 32), np.float32),
                         "latents": rng.standard_normal((3, 2, 6), np.float32)},
        }

        def answer(signature, values):
            outputs = loaded.signatures[signature](**{key: tf.constant(value) for key, value in values.items()})
            return {key: output.numpy() for key, output in outputs.items()}

        assert set(inputs) == set(loaded.signatures)
        for signature, values in inputs.items():
            merged = answer(signature, values)
            for row in range(3):
                alone = answer(signature, {key: value[row : row + 1] for key, value in values.items()})
                for key, output in alone.items():
                    np.testing.assert_allclose(merged[key][row : row + 1], output, atol=1e-4, err_msg=signature)
        padded = np.pad(images, ((0, 0), (0, 16), (0, 16), (0, 0)))
        inside = answer("trunk", {"images": padded})["features"][:, :32, :32]
        assert np.abs(inside - answer("trunk", {"images": images})["features"]).max() > 0.01


def test_metrics_are_where_they_are_scraped():
    monitoring = parse(FOLDER / "monitoring.config", MonitoringConfig).prometheus_config
    (scrape,) = document(FOLDER / "prometheus.yaml")["scrape_configs"]
    assert monitoring.enable and monitoring.path == scrape["metrics_path"] == METRICS_PATH


def pem(name):
    return f"-----BEGIN {name}-----\nMIIB+w==\n-----END {name}-----\n"


class TestTls:
    def test_example_is_an_ssl_config(self):
        example = parse(FOLDER / "ssl.config.example", SSLConfig)
        assert example.client_verify and "PRIVATE KEY" in example.server_key
        assert example.server_cert.startswith("-----BEGIN CERTIFICATE-----\n") and example.custom_ca

    @pytest.mark.parametrize("mutual", [False, True])
    def test_what_is_made_serves_tls(self, mutual, tmp_path):
        """The credentials are built from the message as TensorFlow Serving's server.cc does it."""
        authority = trustme.CA()
        server, client = authority.issue_cert("localhost"), authority.issue_cert("client")
        server.private_key_pem.write_to_path(tmp_path / "key")
        for blob in server.cert_chain_pems:
            blob.write_to_path(tmp_path / "certificate", append=True)
        authority.cert_pem.write_to_path(tmp_path / "ca")
        self.make(tmp_path, *(["--client_ca", "ca"] if mutual else []))
        assert (tmp_path / "ssl.config").stat().st_mode & 0o777 == 0o600
        made = text_format.Parse((tmp_path / "ssl.config").read_text(), SSLConfig())
        assert made.client_verify == mutual

        running = grpc.server(futures.ThreadPoolExecutor(1))
        running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {
            "Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}),))
        credentials = grpc.ssl_server_credentials([(made.server_key.encode(), made.server_cert.encode())],
                                                  made.custom_ca.encode() or None, made.client_verify)
        port = running.add_secure_port("localhost:0", credentials)
        running.start()
        shown = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), client.private_key_pem.bytes(),
                                             client.cert_chain_pems[0].bytes())
        anonymous = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        assert self.echo(port, shown) == b"hello"
        if mutual:
            with pytest.raises(grpc.RpcError):
                self.echo(port, anonymous)
        else:
            assert self.echo(port, anonymous) == b"hello"
        running.stop(None)

    def echo(self, port, credentials):
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            return channel.unary_unary("/test/Echo")(b"hello", timeout=5)

    def make(self, folder, *more, expected=0):
        result = subprocess.run(
            [sys.executable, MAKE_SSL_CONFIG, "--certificate", "certificate", "--key", "key", "--output", "ssl.config",
             *more], cwd=folder, capture_output=True, text=True)
        assert result.returncode == expected, result.stderr
        return result.stderr

    def test_is_not_made_of_the_wrong_files(self, tmp_path):
        key, certificate = pem("RSA PRIVATE KEY"), pem("CERTIFICATE")
        specification = importlib.util.spec_from_file_location("make_ssl_config", MAKE_SSL_CONFIG)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        for wrong in ((key, key), (certificate, certificate), (certificate + key, key), ("", key), (certificate, "x"),
                      (certificate, key.replace("END", "END OF"))):
            with pytest.raises(ValueError, match="must be a PEM text with"):
                module.ssl_config(*wrong)
        with pytest.raises(ValueError, match="server_key is encrypted.*openssl pkey"):
            module.ssl_config(certificate, pem("ENCRYPTED PRIVATE KEY"))
        text = module.ssl_config('subject="me"\n' + certificate, pem("EC PARAMETERS") + key)
        made = text_format.Parse(text, SSLConfig())
        assert made.server_cert == certificate and made.server_key == pem("EC PARAMETERS") + key

    def test_overwrites_nothing_and_says_what_is_missing(self, tmp_path):
        assert "No such file or directory: 'certificate'" in self.make(tmp_path, expected=1)
        (tmp_path / "key").write_text(pem("PRIVATE KEY"))
        (tmp_path / "certificate").write_text(pem("CERTIFICATE"))
        (tmp_path / "ssl.config").write_text("mine")
        assert "File exists: 'ssl.config'" in self.make(tmp_path, expected=1)
        assert (tmp_path / "ssl.config").read_text() == "mine"
