"""The plain U-Net: the contract, its one answer and its loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import IGNORE, SegmenterContract, toy

from tf_probunet.models import DeterministicUNet

SMALL = dict(channels=(4, 8), num_convs=1, combiner_channels=(6, 6), initializer="he_normal")


class TestContract(SegmenterContract):
    model_class = DeterministicUNet
    arguments = SMALL
    random_samples = False


def small(**overrides):
    keras.utils.set_random_seed(0)
    return DeterministicUNet(**{**SMALL, **overrides})


def test_every_sample_is_the_answer():
    model, (images, _) = small(), toy(2)
    samples = model.sample(images, 5, seed=(1, 2))
    for sample in tf.unstack(samples, axis=1):
        np.testing.assert_allclose(sample, model(images), atol=1e-5)


def test_the_loss_is_cross_entropy_summed_over_labelled_pixels_plus_weight_decay():
    model = small(weight_decay=0.01, num_classes=3)
    images, segmentations = toy(3, num_classes=3, ignore=True)
    sample_weight = np.array([1.0, 0.5, 2.0], np.float32)
    terms = model.objective(tf.constant(images), tf.constant(segmentations), None, sample_weight)
    log_probabilities = tf.nn.log_softmax(model(images)).numpy()
    expected = np.zeros(3)
    for image, row, column in np.argwhere(segmentations != IGNORE):
        expected[image] -= log_probabilities[image, row, column, segmentations[image, row, column]]
    kernels = [weight.numpy() for weight in model.weights if weight.name == "kernel" and "logits" not in weight.path]
    assert len(kernels) == 3 + 2
    np.testing.assert_allclose(terms["cross_entropy"], (expected * sample_weight).mean(), rtol=1e-5)
    decay = 0.005 * sum(np.square(kernel).sum() for kernel in kernels)
    np.testing.assert_allclose(terms["loss"], terms["cross_entropy"] + decay, rtol=1e-5)


def test_every_weight_learns():
    model = small()
    images, segmentations = toy(2)
    model.build()
    with tf.GradientTape() as tape:
        loss = model.objective(tf.constant(images), tf.constant(segmentations))["loss"]
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, model.trainable_weights))


def test_sees_standardised_images():
    images, _ = toy(2)
    np.testing.assert_allclose(small(image_mean=0.25, image_stddev=0.5)(images),
                               small()(((images - 0.25) / 0.5).astype(np.float32)), atol=1e-5)


def test_the_head_is_the_combiner_without_latents():
    model = small(combiner_channels=(5, 6, 7))
    model.build()
    assert [conv.filters for conv in model.head.hidden] == [5, 6, 7]
    assert model.head.count_params() == (4 * 5 + 5) + (5 * 6 + 6) + (6 * 7 + 7) + (7 * 2 + 2)


@pytest.mark.parametrize("stddev", [0, -1])
def test_a_stddev_that_is_none_is_refused(stddev):
    with pytest.raises(ValueError, match="image_stddev must be above 0"):
        small(image_stddev=stddev)
