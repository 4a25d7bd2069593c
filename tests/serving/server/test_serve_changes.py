"""What happens to requests while versions come and go, replicas die and the server stops: none is lost."""

import ctypes
import json
import os
import shutil
import signal
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

from load import Load


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def states(server):
    with urllib.request.urlopen(f"{server.rest}/v1/models/tiny", timeout=30) as response:
        found = json.loads(response.read())["model_version_status"]
    return {int(entry["version"]): (entry["state"], entry["status"]["error_message"]) for entry in found}


def expected(models, load):
    found = {}
    for number, model in models.items():
        logits = model.sample_from_noise(load.images, load.noise)
        found[number] = {"segmentations": tf.argmax(logits, axis=-1).numpy(),
                         "probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1).numpy()}
    return found


def check_whole(load, models):
    """Every reply is that of the one version that it names."""
    wanted = expected(models, load)
    assert not np.allclose(wanted[1]["probabilities"], wanted[2]["probabilities"], atol=1e-3)
    for _, version, outputs in load.replies:
        for name, value in wanted[version].items():
            np.testing.assert_allclose(outputs[name], value, atol=1e-5)


def test_no_request_fails_from_one_version_to_the_next_to_a_broken_one_and_back(two_versions, models_folder, serve,
                                                                               put_version):
    folder, models = two_versions
    server = serve(models_folder)
    with Load(server.grpc) as load:
        wait_until(lambda: len(load.replies) > 100)
        put_version(folder / "tiny" / "2", models_folder / "tiny" / "2")
        wait_until(lambda: load.seen() == {1, 2})
        wait_until(lambda: 1 not in states(server))
        broken = models_folder / "tiny" / ".3.copy"
        shutil.copytree(folder / "tiny" / "2", broken)
        (broken / "variables" / "variables.index").write_bytes(b"not that")
        broken.rename(models_folder / "tiny" / "3")
        wait_until(lambda: states(server).get(3, ("",))[0] == "END")
        refused_at = time.monotonic() - load.start
        assert "variables.index was changed" in states(server)[3][1]
        time.sleep(1.5)
        assert load.seen(refused_at + 0.5) == {2}
        (models_folder / "tiny" / "2").rename(models_folder / "tiny" / ".2.withdrawn")  # back to the one before
        wait_until(lambda: load.replies[-1][1] == 1)
        went_back = time.monotonic() - load.start
        time.sleep(max(1, 30 - went_back))  # half a minute of load in all
    assert load.errors == []
    assert load.seen(went_back + 0.5) == {1}
    check_whole(load, models)
    assert server.text().count('"event": "refused') == 1, "a broken version is tried once, not in a loop"


def test_labels_move_at_once_and_every_version_is_served_that_models_config_names(two_versions, models_folder, serve,
                                                                                  put_version, probunet):
    server = serve(models_folder)
    put_version(two_versions[0] / "tiny" / "2", models_folder / "tiny" / "2")
    for label, version in (("stable", 1), ("canary", 2)):
        probunet("versions", "label", f"--saved_models={models_folder}", "--model=tiny", f"--label={label}",
                 f"--version={version}")

    def labelled(label):
        """The version behind a label; None while the server knows no such label."""
        try:
            with urllib.request.urlopen(f"{server.rest}/v1/models/tiny/labels/{label}", timeout=30) as response:
                return json.loads(response.read())["model_version_status"][0]["version"]
        except urllib.error.HTTPError as error:
            assert error.code == 400, error  # what is asked of a label that is not there
            return None

    # Version 2 may have been found before models.config: for a moment both versions are there, the labels not yet.
    wait_until(lambda: set(states(server)) == {1, 2} and all(state == "AVAILABLE" for state, _ in
                                                            states(server).values()) and labelled("canary") == "2")
    assert labelled("stable") == "1"
    probunet("versions", "label", f"--saved_models={models_folder}", "--model=tiny", "--label=stable", "--version=2")
    wait_until(lambda: labelled("stable") == "2")
    probunet("versions", "rollback", f"--saved_models={models_folder}", "--model=tiny", "--label=stable")
    wait_until(lambda: labelled("stable") == "1")


def replicas_of(server):
    """Process ids of the replicas that descend from the server."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    parents, found = {}, []
    for line in lines.splitlines()[1:]:
        pid, parent, command = line.split(None, 2)
        parents[int(pid)] = int(parent)
        if "ray::ServeReplica" in command:
            found.append(int(pid))

    def descends(pid):
        while pid in parents:
            pid = parents[pid]
            if pid == server.process.pid:
                return True
        return False

    return [pid for pid in found if descends(pid)]


def test_a_killed_replica_costs_only_the_requests_that_it_held(two_versions, models_folder, serve):
    server = serve(models_folder, "--replicas", "2")
    before = replicas_of(server)
    assert len(before) == 2
    with Load(server.grpc, callers=8) as load:
        wait_until(lambda: len(load.replies) > 100)
        os.kill(before[0], signal.SIGKILL)
        killed_at = time.monotonic() - load.start
        time.sleep(3)
    assert {code for _, code in load.errors} <= {"UNAVAILABLE"}
    assert len(load.errors) <= 8, "each caller has one request at a time"
    assert len([at for at, _, _ in load.replies if at > killed_at]) > 100
    check_whole(load, two_versions[1])


def test_what_was_taken_is_answered_before_the_server_stops(two_versions, models_folder, serve):
    server = serve(models_folder)
    with Load(server.grpc, callers=4) as load:
        wait_until(lambda: len(load.replies) > 50)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    # Callers that ask on are told that nobody is there; gRPC may cancel who came when the port was closed.
    assert {code for _, code in load.errors} <= {"UNAVAILABLE", "CANCELLED"}
    outcomes = [json.loads(line)["code"] for line in server.text().splitlines() if '"event": "request"' in line]
    assert outcomes.count("OK") == len(load.replies), "every answer arrived"
    assert set(outcomes) <= {"OK", "UNAVAILABLE"}, "none was broken off half-way"
    check_whole(load, two_versions[1])
    assert "Finishing what was taken" in server.text()


def test_it_stops_while_it_loads(models_folder, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", "from tf_probunet.cli.main import run; run()", "serve", "--saved_models",
             str(models_folder), "--port", "0", "--rest_port", "0"], stdout=file, stderr=subprocess.STDOUT)
    wait_until(lambda: "Loading the models" in log.read_text())
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    assert "Stopped before the models were loaded." in log.read_text() and "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """PEM files: an authority, a server and a client that it has signed, and a client of another authority."""
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, made in {"server": authority.issue_cert("localhost"), "client": authority.issue_cert("reader@hospital"),
                       "stranger": other.issue_cert("stranger@elsewhere")}.items():
        made.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(folder / f"{name}.pem"), append=True)
    return folder


def test_with_certificates_only_those_who_show_theirs_are_answered(two_versions, models_folder, serve, certificates):
    server = serve(models_folder, "--tls_certificate", str(certificates / "server.pem"),
                   "--tls_key", str(certificates / "server.key"), "--tls_client_ca", str(certificates / "ca.pem"))

    def call(name):
        pem = {kind: (certificates / f"{name}.{kind}").read_bytes() if name else None for kind in ("key", "pem")}
        credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes(), pem["key"], pem["pem"])
        with grpc.secure_channel(server.grpc, credentials) as channel:
            method = channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
            with pytest.raises(grpc.RpcError) as caught:
                method(b"", timeout=10)
            return caught.value.code().name

    assert call("client") == "UNIMPLEMENTED"  # answered
    assert call(None) == call("stranger") == "UNAVAILABLE"
    curl = ["curl", "-s", "--cacert", str(certificates / "ca.pem"), f"{server.rest}/v1/models/tiny"]
    shown = ["--cert", str(certificates / "client.pem"), "--key", str(certificates / "client.key")]
    assert b"AVAILABLE" in subprocess.run([*curl, *shown], capture_output=True).stdout
    assert subprocess.run(curl, capture_output=True).returncode != 0


HANGS = """
import time
from tf_probunet.cli.main import run
from tf_probunet.serving import ray_environment
ray_environment.prepare()
from ray import serve
import tf_probunet.serving.run as serving
serve.shutdown = lambda: time.sleep(1000)
serving.STOP_SECONDS = 2.0
run()
"""


def test_a_server_whose_ray_does_not_stop_ends_nevertheless_and_says_so(models_folder, serve):
    server = serve(models_folder, program=(sys.executable, "-c", HANGS))
    replicas = replicas_of(server)
    assert len(replicas) == 1
    assert server.stop() == 1
    assert "Ray did not stop within 2 s of the signal" in server.text()
    assert "in <lambda>" in server.text(), "where it hung"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in replicas))


@pytest.mark.skipif(sys.platform != "linux", reason="signals to one thread are Linux's")
def test_a_signal_that_another_thread_receives_stops_the_server_too(models_folder, serve):
    server = serve(models_folder)
    pid = server.process.pid
    other = max(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir() if int(path.name) != pid)
    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGTERM) == 0
    assert server.process.wait(60) == 0
