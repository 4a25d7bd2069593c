"""The combiner of a device draws what the server draws, from a file of any shape, without TensorFlow."""

import importlib.metadata
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tf_probunet
from tf_probunet.edge import Combiner
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export.litert import convert_combiner, convert_trunk, fingerprint


@pytest.fixture(scope="module")
def write(exported, tmp_path_factory):
    """A function (size, num_samples) that writes a file and returns its path."""
    folder = tmp_path_factory.mktemp("edge")

    def write(size, num_samples):
        path = folder / f"combiner-{size[0]}x{size[1]}-{num_samples}.tflite"
        if not path.exists():
            path.write_bytes(convert_combiner(exported, size, num_samples))
        return path

    return write


# The file's own shapes; fewer and more samples; features in tiles, of which the last are not full; smaller features.
@pytest.mark.parametrize(("size", "num_samples"), [((32, 32), 16), ((32, 32), 1), ((32, 32), 5), ((16, 16), 16),
                                                   ((24, 20), 7), ((48, 64), 3)])
def test_draws_what_the_server_draws(exported, trunk, write, size, num_samples):
    combiner = Combiner(write(size, num_samples), accelerator="cpu")
    images, outputs = trunk
    segmentations, probabilities = combiner.sample(**outputs, num_samples=16, seed=(3, 4))
    expected, expected_probabilities = exported.sample(images, 16, (3, 4))
    assert 0.05 < expected.mean() < 0.95 and (expected[:, 0] != expected[:, 1]).any(), "samples that say something"
    assert segmentations.dtype == np.uint8
    assert np.mean(segmentations != expected) < 1e-4  # a tie may fall either way
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-5)


def test_logits_equal_those_of_the_signature(exported, trunk, write):
    features, latents = trunk[1]["features"], np.random.default_rng(2).standard_normal((2, 7, 3)).astype(np.float32)
    expected = exported.signatures["combiner"](features=tf.constant(features), latents=tf.constant(latents))["logits"]
    np.testing.assert_allclose(Combiner(write((24, 20), 7), "cpu")(features, latents), expected, rtol=1e-5, atol=1e-5)


def test_a_file_says_what_it_is_for(exported, write):
    combiner = Combiner(write((24, 20), 7))
    assert (combiner.size, combiner.num_samples, combiner.num_classes, combiner.latent_dim) == ((24, 20), 7, 2, 3)
    assert combiner.metadata["saved_model_sha256"] == fingerprint(exported)
    assert combiner.metadata["model"] == "tiny version 1" and combiner.metadata["precision"] == "float32"


def test_a_plain_word_where_there_is_no_gpu(write, no_gpu):
    code = f"from tf_probunet.edge import Combiner; print(Combiner({os.fspath(write((32, 32), 1))!r}).device)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert found[-1] == "CPU (no GPU: no driver of Vulkan, Metal or Direct3D 12 was found)"


def test_who_insists_on_a_gpu_is_told(write, no_gpu):
    code = f"from tf_probunet.edge import Combiner; Combiner({os.fspath(write((32, 32), 1))!r}, accelerator='gpu')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "cannot run on a GPU: no driver of Vulkan" in result.stderr


@pytest.mark.parametrize(("change", "words"), [
    ({"features": (2, 32, 32, 7)}, r"\[B, H, W, 8\].*\[2, 32, 32, 7\].*tiny version 1"),
    ({"features": (32, 32, 8)}, r"\[B, H, W, 8\].*\[32, 32, 8\]"),
    ({"prior_mean": (2, 6)}, r"prior_mean.*\[2, 3\].*\[2, 6\].*of one version"),
    ({"prior_stddev": (1, 3)}, r"prior_stddev.*\[2, 3\].*\[1, 3\]"),
])
def test_what_is_of_another_model_is_refused(trunk, write, change, words):
    outputs = trunk[1] | {name: np.zeros(shape, np.float32) for name, shape in change.items()}
    with pytest.raises(ValueError, match=words):
        Combiner(write((32, 32), 1), "cpu").sample(**outputs)


def test_latents_of_another_model_are_refused(trunk, write):
    with pytest.raises(ValueError, match=r"\[B, M, 3\].*\[2, 4, 6\]"):
        Combiner(write((32, 32), 1), "cpu")(trunk[1]["features"], np.zeros((2, 4, 6)))


@pytest.mark.parametrize("num_samples", [0, -1])
def test_no_samples_are_refused(trunk, write, num_samples):
    with pytest.raises(ValueError, match="1 or more"):
        Combiner(write((32, 32), 1), "cpu").sample(**trunk[1], num_samples=num_samples)


def test_unknown_accelerator(write):
    with pytest.raises(ValueError, match="'npu'.*auto, gpu, cpu"):
        Combiner(write((32, 32), 1), "npu")


def test_a_trunk_is_no_combiner(exported, tmp_path):
    path = tmp_path / "trunk.tflite"
    path.write_bytes(convert_trunk(exported, (32, 32)))
    with pytest.raises(ValueError, match="no combiner: it takes images and gives"):
        Combiner(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Combiner(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"PNG", b"\x1c\x00\x00\x00TFL3", b"\x1c\x00\x00\x00TFL3" + 100 * b"\xff"])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "combiner.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="combiner.tflite is (no LiteRT model|damaged)"):
        Combiner(path)


def test_a_file_cut_off_anywhere_never_ends_the_process(write):
    content = write((32, 32), 1).read_bytes()
    for length in range(0, len(content), 97):
        try:
            TfliteFile(content[:length])
        except ValueError as error:
            assert "LiteRT model" in str(error) or "damaged" in str(error)


def test_metadata_of_another_format_is_refused(write):
    file = TfliteFile(write((32, 32), 1))
    changed = file.content.replace(b"tf_probunet.litert/1", b"tf_probunet.litert/9")
    with pytest.raises(ValueError, match="litert/9.*expected 'tf_probunet.litert/1'"):
        TfliteFile(changed)


def needs_of(package, found=None):
    """The installed packages that a package needs, itself included."""
    found = {} if found is None else found
    name = canonicalize_name(package)
    if name not in found:
        found[name] = importlib.metadata.distribution(package)
        for need in map(Requirement, found[name].requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                needs_of(need.name, found)
    return found


def test_needs_numpy_and_litert_alone(trunk, write, tmp_path):
    """In an environment that holds ai-edge-litert, what that needs, and this package: no TensorFlow, no Keras."""
    venv.create(tmp_path / "device", with_pip=False)
    site = next((tmp_path / "device" / "lib").glob("python*/site-packages"))
    distributions = needs_of("ai-edge-litert")
    assert "tensorflow" not in distributions
    for distribution in distributions.values():
        for top in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(distribution.locate_file(top))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    (site / "tf_probunet").symlink_to(Path(tf_probunet.__file__).parent)
    np.savez(tmp_path / "trunk.npz", **trunk[1])
    code = f"""
import importlib.util
import sys
import numpy as np
from tf_probunet.edge import Combiner
combiner = Combiner({os.fspath(write((24, 20), 7))!r}, accelerator="cpu")
segmentations, _ = combiner.sample(**np.load("trunk.npz"), num_samples=16, seed=(3, 4))
np.save("segmentations.npy", segmentations)
for name in ("tensorflow", "keras", "absl", "scipy"):
    assert importlib.util.find_spec(name) is None, name
"""
    python = tmp_path / "device" / "bin" / "python"
    result = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                            env={"PATH": os.environ["PATH"]})
    assert result.returncode == 0, result.stderr
    expected, _ = Combiner(write((24, 20), 7), "cpu").sample(**trunk[1], num_samples=16, seed=(3, 4))
    np.testing.assert_array_equal(np.load(tmp_path / "segmentations.npy"), expected)
