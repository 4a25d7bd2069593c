"""`probunet sample --server`: the files of a served model are those of the model in process."""

import grpc_server
import numpy as np
import pytest
import rest_server
from client_contract import LIDC, example_images
from PIL import Image
from servables import Model, Servables

from tf_probunet.cli.main import main

SERVERS = {"grpc": grpc_server.serving, "rest": rest_server.serving}


@pytest.fixture
def servables():
    return Servables("lidc", {1: Model(LIDC)}, {"stable": 1})


@pytest.fixture
def image(tmp_path):
    """A PNG of 8 bits, larger than the crop."""
    Image.fromarray(np.round(example_images(batch=1, size=48)[0, ..., 0] * 255).astype(np.uint8)).save(
        tmp_path / "image.png")
    return tmp_path / "image.png"


def sample(image, output, *arguments):
    return main(["sample", "--image", str(image), "--output", str(output), "--num_samples", "3", "--seed", "2",
                 "--crop_size", "32,32", *map(str, arguments)])


@pytest.mark.parametrize("protocol, options", [("grpc", []), ("grpc", ["--label", "stable"]), ("rest", ["--rest"])])
def test_gives_the_files_of_the_model_in_process(servables, image, tmp_path, protocol, options):
    with SERVERS[protocol](servables) as address:
        assert sample(image, tmp_path / "served", "--server", address, "--model", "lidc", *options) == 0
    assert sample(image, tmp_path / "local", "--saved_model", LIDC) == 0
    served, local = ({path.name: path for path in (tmp_path / name).iterdir()} for name in ("served", "local"))
    assert set(served) == set(local)
    for name in ("sample_00.png", "sample_02.png", "samples.npy"):
        assert served[name].read_bytes() == local[name].read_bytes()
    assert np.load(served["samples.npy"]).any()  # something is there to be compared
    np.testing.assert_allclose(np.load(served["probabilities.npy"]), np.load(local["probabilities.npy"]), atol=1e-6)
    assert servables.predictions() == [("serving_default", 1)]  # the version that the title names


def test_a_server_that_does_not_know_the_model(servables, image, tmp_path, capsys):
    with grpc_server.serving(servables) as address:
        assert sample(image, tmp_path / "out", "--server", address, "--model", "lung") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"probunet: lung at {address}: Servable not found") and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments, message", [
    ([], "either --saved_model or --server is needed, not both"),
    (["--saved_model", LIDC, "--server", "localhost:8500", "--model", "lidc"],
     "either --saved_model or --server is needed, not both"),
    (["--server", "localhost:8500"], "--server needs --model: the name under which it knows the model"),
    (["--saved_model", LIDC, "--rest"], "--rest goes with --server"),
])
def test_wrong_command_lines(image, tmp_path, capsys, arguments, message):
    assert sample(image, tmp_path / "out", *arguments) == 2
    assert capsys.readouterr().err == f"probunet: {message}\nSee: probunet sample --help\n"


def test_a_missing_certificate_file(image, tmp_path, capsys):
    assert sample(image, tmp_path / "out", "--server", "localhost:8500", "--model", "lidc", "--root_certificates",
                  tmp_path / "none.pem") == 1
    assert "none.pem. Expected root_certificates as a PEM file" in capsys.readouterr().err
