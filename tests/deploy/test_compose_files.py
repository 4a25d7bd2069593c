"""The compose files: valid by Compose's schema, coherent with what they mount, and health checks that tell."""

import copy
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from deploy_files import DEPLOY, SAVED_MODELS, document, flags, interpolated, mount_of, parse
from serving_schemas import BatchingParameters

from tf_probunet.cli import serve

# check-jsonschema ships the schema of github.com/compose-spec/compose-spec.
SCHEMA = json.loads(resources.files("check_jsonschema").joinpath(
    "builtin_schemas", "vendor", "compose-spec.json").read_text(encoding="utf-8"))
FOLDERS = ("tensorflow_serving", "ray")
ENVIRONMENTS = ({}, {"BATCHING": "true"}, {"TLS": "true"}, {"LISTEN": "0.0.0.0", "CPUS": "8", "REPLICAS": "2"})
# Of tensorflow_serving/model_servers/main.cc, those that may be of use here.
TENSORFLOW_SERVING_FLAGS = {
    "port", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms", "enable_batching",
    "allow_version_labels_for_unavailable_models", "batching_parameters_file", "enable_per_model_batching_parameters",
    "model_config_file", "model_config_file_poll_wait_seconds", "num_load_threads", "num_unload_threads",
    "max_num_load_retries", "load_retry_interval_micros", "file_system_poll_wait_seconds", "flush_filesystem_caches",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "ssl_config_file", "grpc_channel_arguments",
    "grpc_max_threads", "enable_model_warmup", "num_request_iterations_for_warmup", "monitoring_config_file",
}


def compose(folder, environment=None):
    return interpolated(document(DEPLOY / folder / "compose.yaml"), environment or {})


def server(folder, environment=None):
    return compose(folder, environment)["services"]["server"]


def mounts(service):
    """Sources of a service's mounts by their targets."""
    return {target: source for source, target, *_ in (volume.split(":") for volume in service["volumes"])}


@pytest.mark.parametrize("folder", FOLDERS)
class TestBoth:
    @pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
    def test_is_valid(self, folder, environment):
        jsonschema.validate(compose(folder, environment), SCHEMA)

    def test_variables_are_explained(self, folder):
        text = (DEPLOY / folder / "compose.yaml").read_text()
        assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^#   ([A-Z_]+) ", text, re.M))

    def test_ports_are_for_this_machine_only_unless_told_otherwise(self, folder):
        for service in compose(folder)["services"].values():
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        opened = [port for port in server(folder, {"LISTEN": "0.0.0.0"})["ports"] if port.startswith("0.0.0.0:")]
        # TensorFlow Serving's REST has no TLS.
        assert opened == ["0.0.0.0:8500:8500"] + ["0.0.0.0:8501:8501"] * (folder == "ray")

    def test_ports_are_those_of_the_server_and_of_prometheus(self, folder):
        found = flags(server(folder)["command"])
        rest = found["rest_api_port" if folder == "tensorflow_serving" else "rest_port"]
        assert [port.rsplit(":", 2)[1:] for port in server(folder)["ports"]] == [[found["port"]] * 2, [rest] * 2]
        prometheus = compose(folder)["services"]["prometheus"]
        source = DEPLOY / folder / mounts(prometheus)["/etc/prometheus/prometheus.yml"]
        assert document(source)["scrape_configs"][0]["static_configs"] == [{"targets": [f"server:{rest}"]}]
        assert re.search(rf"[:/]{rest}[/ ]", server(folder)["healthcheck"]["test"][-1])

    def test_mounts_what_is_there_and_only_to_read(self, folder):
        for name, service in compose(folder)["services"].items():
            for volume in service["volumes"]:
                source, target, *mode = volume.split(":")
                if source in compose(folder)["volumes"]:
                    continue
                assert mode == ["ro"], volume
                assert source == "./tls" or (DEPLOY / folder / source).exists(), f"{name}: {volume}"
        assert (DEPLOY / folder / mounts(server(folder))["/models"]).resolve() == SAVED_MODELS

    def test_images_are_pinned(self, folder):
        for service in compose(folder)["services"].values():
            tag = service["image"].rsplit(":", 1)[1]
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag) or ("build" in service and tag == "local")

    def test_services_have_no_more_rights_than_they_need(self, folder):
        for service in compose(folder)["services"].values():
            assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]

    def test_threads_are_those_that_the_server_may_use(self, folder):
        for environment in ({}, {"CPUS": "2", "TOTAL_CPUS": "2"}):
            service = server(folder, environment)
            cores = service["deploy"]["resources"]["limits"]["cpus"]
            found = {**flags(service["command"]), **service.get("environment", {})}
            threads = [value for name, value in found.items() if re.search(r"intra|inter|^threads|INTRA|INTER", name)]
            assert set(threads) == {cores} and len(threads) >= 2


class TestTensorFlowServing:
    @pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
    def test_flags_are_known_and_name_files_that_are_mounted(self, environment):
        service = server("tensorflow_serving", environment)
        found = flags(service["command"])
        assert set(found) <= TENSORFLOW_SERVING_FLAGS
        for name, path in found.items():
            if not name.endswith("_file") or not path:
                continue
            mount = mount_of(path, mounts(service))
            assert mount, f"--{name}={path} is mounted nowhere"
            source = DEPLOY / "tensorflow_serving" / mounts(service)[mount] / Path(path).relative_to(mount)
            # The last two are the operator's own.
            assert source.is_file() or source.name in ("models.config", "ssl.config")

    def test_batching_and_tls_are_off_unless_asked_for(self):
        for environment, batching, ssl in (({}, "", ""), ({"BATCHING": "true"}, "/config/batching.config", ""),
                                           ({"TLS": "true"}, "", "/config/ssl.config")):
            found = flags(server("tensorflow_serving", environment)["command"])
            assert (found["batching_parameters_file"], found["ssl_config_file"]) == (batching, ssl)
            # The server refuses to start with parameters but without batching.
            assert found["enable_batching"] == ("true" if batching else "false")

    def test_labels_are_followed(self):
        found = flags(server("tensorflow_serving")["command"])
        assert found["model_config_file"] == "/models/models.config"
        assert 1 <= int(found["model_config_file_poll_wait_seconds"]) <= 60
        assert found["allow_version_labels_for_unavailable_models"] == "true"

    def test_batches_have_the_threads_that_the_server_may_use(self):
        batching = parse(DEPLOY / "tensorflow_serving" / "batching.config", BatchingParameters)
        cores = server("tensorflow_serving")["deploy"]["resources"]["limits"]["cpus"]
        assert batching.num_batch_threads.value == int(cores)

    def test_what_holds_the_private_key_is_ignored_by_git(self):
        assert "ssl.config" in (DEPLOY / "tensorflow_serving" / ".gitignore").read_text().split()
        assert "tls/" in (DEPLOY / "ray" / ".gitignore").read_text().split()


class TestProbunetServe:
    @pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
    def test_flags_are_those_of_the_command(self, environment):
        program, verb, *arguments = server("ray", environment)["command"]
        assert (program, verb) == ("probunet", "serve")
        values = copy.deepcopy(serve.FLAGS)
        assert values(["serve", *arguments]) == ["serve"]  # nothing is left over
        assert values.saved_models in mounts(server("ray")) and values.host == "0.0.0.0"
        assert values.tls_certificate == ("/tls/server.pem" if "TLS" in environment else "")
        assert values.tls_key == ("/tls/server.key" if "TLS" in environment else "")
        assert values.replicas == int(environment.get("REPLICAS", 1))

    def test_image_serves_by_itself_as_in_compose(self):
        (command,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "ray" / "Dockerfile").read_text(), re.M)
        assert set(json.loads(command)) <= set(server("ray")["command"])

    def test_image_copies_all_that_the_package_is_built_from(self, tmp_path):
        text = (DEPLOY / "ray" / "Dockerfile").read_text()
        copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for name in line.split()]
        ignored = (DEPLOY / "ray" / "Dockerfile.dockerignore").read_text().split("\n")
        assert [f"!{name}" for name in copied] == [line for line in ignored if line.startswith("!")]
        for name in copied:
            (tmp_path / name).symlink_to(DEPLOY.parent / name)
        built = subprocess.run([sys.executable, "setup.py", "-q", "build", "--build-base", "out"], cwd=tmp_path,
                               capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        for module in ("cli/serve.py", "serving/application.py", "pipelines/units.py"):
            assert (tmp_path / "out" / "lib" / "tf_probunet" / module).is_file()


class Answering:
    """A server on a free port that gives every request the same answer."""

    def __init__(self, status, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            paths = []

            def do_GET(self):  # noqa: N802  http.server's name
                self.paths.append(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server, self.paths = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler), Handler.paths
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def health(folder, port):
    """Exit status of a health check that asks another port."""
    marker, *command = server(folder)["healthcheck"]["test"]
    assert marker == "CMD"
    command = [part.replace("8501", str(port)) for part in command]
    command[0] = sys.executable if command[0] == "python" else command[0]
    return subprocess.run(command, capture_output=True, timeout=20).returncode


@pytest.mark.parametrize("folder, path, healthy, not_healthy", [
    ("tensorflow_serving", "/v1/models/lidc", (200, '{"model_version_status": [{"state": "AVAILABLE"}]}'),
     [(200, '{"model_version_status": [{"state": "END"}]}'), (404, '{"error": "no such model"}')]),
    ("ray", "/healthz", (200, '{"models": ["lidc"]}'), [(503, '{"models": []}')]),
])
def test_health_check_tells(folder, path, healthy, not_healthy):
    with Answering(*healthy) as answering:
        assert health(folder, answering.port) == 0 and answering.paths == [path]
    for status, body in not_healthy:
        with Answering(status, body) as answering:
            assert health(folder, answering.port) != 0
    with socket.socket() as closed:  # bound, not listening
        closed.bind(("127.0.0.1", 0))
        assert health(folder, closed.getsockname()[1]) != 0
