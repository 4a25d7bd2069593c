"""Files run on a GPU, all of them, and give the CPU's numbers; formulations that a GPU does not take are told.

The GPU is one in software, Chromium's, so that any machine can prove this; it proves nothing about speed.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.edge.gpu_check import check_on_gpu
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export.edge_checks import COMBINER_OPERATIONS, check_operations
from tf_probunet.export.edge_examples import calibration, made_up_examples
from tf_probunet.export.litert import combiner_function, convert_combiner, convert_function, convert_trunk
from tf_probunet.export.rebuilt import rebuilt_model

SIZE = (32, 32)


def check(content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return check_on_gpu(path)


@pytest.mark.parametrize("num_samples", [1, 16])
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("float16", 1e-5), ("int8", 0.3)])
def test_combiners_run_on_the_gpu_alone(exported, tmp_path, software_gpu, num_samples, precision, bound):
    examples = made_up_examples(exported, SIZE)
    content = convert_combiner(exported, SIZE, num_samples, precision,
                               lambda: calibration(examples, num_samples, (0, 0)))
    check_operations(TfliteFile(content), "combiner", COMBINER_OPERATIONS[precision])
    assert check(content, tmp_path)["difference"] < bound


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_trunks_run_on_the_gpu_alone(exported, tmp_path, software_gpu, precision):
    assert check(convert_trunk(exported, SIZE, precision), tmp_path)["difference"] < 1e-3


def test_a_normalized_trunk_runs_on_the_gpu_alone(normalized, tmp_path, software_gpu):
    """Keras's own layer, with groups, is refused there for its tensors of five dimensions."""
    assert check(convert_trunk(normalized, SIZE, "float32"), tmp_path)["difference"] < 1e-3


def five_dimensions(model):
    """The combiner as it is exported for servers."""
    def combiner(features, latents):
        return {"logits": model.combiner.combine(features, latents)}

    return combiner, (1, 4, model.latent_dim)


def broadcast(model):
    """Latents at every pixel by a broadcast."""
    def combiner(features, latents):
        grid = tf.broadcast_to(latents, (4, *SIZE, model.latent_dim))
        return {"logits": tf.concat([tf.broadcast_to(features, (4, *SIZE, features.shape[3])), grid], axis=-1)}

    return combiner, (4, 1, 1, model.latent_dim)


def random(model):
    """Noise drawn inside of the file."""
    inner, _ = combiner_function(model, SIZE, 4)

    def combiner(features, latents):
        return inner(features, latents * tf.random.normal((4, 1, 1, model.latent_dim)))

    return combiner, (4, 1, 1, model.latent_dim)


def dynamic(model):
    """Any number of samples."""
    inner, _ = combiner_function(model, SIZE, 4)
    return inner, (None, 1, 1, model.latent_dim)


def convert(exported, formulation):
    model = rebuilt_model(exported)
    function, latents = formulation(model)
    return convert_function("combiner", function, {
        "features": tf.TensorSpec((1, *SIZE, model.combiner.hidden[0].filters), tf.float32, name="features"),
        "latents": tf.TensorSpec(latents, tf.float32, name="latents"),
    })


@pytest.mark.parametrize(("formulation", "words"), [
    (five_dimensions, "ADD: Tensor dimensions must be less than 5"),
    (broadcast, "BROADCAST_TO: Operation is not supported"),
    (random, "RANDOM_STANDARD_NORMAL: Operation is not supported"),
])
def test_what_a_gpu_does_not_take_is_told(exported, tmp_path, software_gpu, formulation, words):
    assert words in check(convert(exported, formulation), tmp_path)["why_not"]


@pytest.mark.parametrize(("formulation", "words"), [
    (five_dimensions, "RESHAPE.*expected ADD, CONV_2D alone"),
    (broadcast, "BROADCAST_TO, CONCATENATION"),
    (random, "RANDOM_STANDARD_NORMAL"),
    (dynamic, r"tensor .* has shape \[-1, 1, 1, 3\]; a GPU takes at most four dimensions, all fixed"),
])
def test_none_of_these_passes_the_list_of_operations(exported, formulation, words):
    with pytest.raises(ValueError, match=words):
        check_operations(TfliteFile(convert(exported, formulation)), "combiner", COMBINER_OPERATIONS["float32"])


def test_a_combiner_finds_the_gpu_by_itself(exported, trunk, tmp_path, software_gpu):
    path = tmp_path / "combiner.tflite"
    path.write_bytes(convert_combiner(exported, SIZE, 4))
    np.savez(tmp_path / "trunk.npz", **trunk[1])
    code = f"""
import numpy as np
from tf_probunet.edge import Combiner
combiner = Combiner({os.fspath(path)!r})
assert combiner.device == "GPU", combiner.device
segmentations, probabilities = combiner.sample(**np.load("trunk.npz"), num_samples=6, seed=(0, 1))
np.savez("samples.npz", segmentations=segmentations, probabilities=probabilities)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "samples.npz")
    expected, probabilities = exported.sample(trunk[0], 6, (0, 1))
    assert np.mean(found["segmentations"] != expected) < 1e-3
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-4)


def test_a_process_that_dies_is_told(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"nothing")
    assert "ended with status" in check_on_gpu(path)["why_not"]
