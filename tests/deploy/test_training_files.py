"""The Job's own script, run by bash: workers find each other under the names that Kubernetes gives them."""

import os
import re
import subprocess

import pytest
from deploy_files import DEPLOY, flags
from manifests import of_kind, pods, resources

from tf_probunet.cli import train
from tf_probunet.presets import preset
from tf_probunet.tf_config import read_tf_config

FOLDER = DEPLOY / "kubernetes" / "training"


@pytest.fixture(scope="module")
def job():
    (found,) = of_kind(resources(FOLDER), "Job")
    return found


@pytest.fixture(scope="module")
def script(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:2] == ["bash", "-euc"]
    return container["command"][2]


@pytest.mark.parametrize("index", range(4))
def test_workers_are_told_who_they_are(job, script, tmp_path, index):
    (tmp_path / "probunet").write_text('#!/bin/sh\necho "$TF_CONFIG"\n')
    (tmp_path / "probunet").chmod(0o755)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, env={
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(index)})
    cluster = read_tf_config(done.stdout)
    (service,) = of_kind(resources(FOLDER), "Service")
    (pod,) = pods(resources(FOLDER))
    (port,) = pod["spec"]["containers"][0]["ports"]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    number, name = job["spec"]["completions"], job["metadata"]["name"]
    assert job["spec"]["parallelism"] == number and cluster.index == index
    assert list(cluster.addresses) == [f"{name}-{worker}.{service['metadata']['name']}:{port['containerPort']}"
                                       for worker in range(number)]


def test_the_command_is_one_that_may_be_given_again(job, script):
    words = re.sub(r"\\\n", " ", script).split("exec probunet train ")[1].split()
    given = flags([f"{name}={value}" for name, value in zip(words[:-1:2], words[1:-1:2], strict=True)])
    assert words[-1] == "--resume_if_started" and {*given, "resume_if_started"} <= set(train.FLAGS)
    assert int(given["batch_size"]) % job["spec"]["completions"] == 0
    assert preset(given["preset"])
    (mount, _) = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert all(given[name].startswith(mount["mountPath"] + "/") for name in ("data", "run"))
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_image_has_what_a_training_needs():
    text = (DEPLOY / "training" / "Dockerfile").read_text()
    ignored = (DEPLOY / "training" / "Dockerfile.dockerignore").read_text().split("\n")
    for sources in re.findall(r"^COPY (.*) \S+$", text, re.M):
        assert all(f"!{source}" in ignored and (DEPLOY.parent / source).exists() for source in sources.split())
