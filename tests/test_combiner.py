"""The split combiner equals the one that concatenates, and is no affine map of the latent."""

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.combiner import Combiner


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def made(num_classes=3, latent_dim=4, hidden=(8, 5), features=6, **options):
    """A combiner with random weights, biases included."""
    combiner = Combiner(num_classes, latent_dim, hidden, **options)
    combiner.build((None, None, None, features))
    for index, weight in enumerate(combiner.weights):
        weight.assign(0.5 * normal(*weight.shape, seed=index + 10))
    return combiner


def concatenated(combiner, features, latents):
    """f_comb as the paper draws it: each latent broadcast over the pixels and concatenated with the features."""
    height, width = features.shape[1:3]
    outputs = []
    for index in range(latents.shape[1]):
        planes = tf.tile(latents[:, index, None, None], (1, height, width, 1))
        hidden = tf.concat([features, planes], axis=-1)
        for conv in combiner.hidden:
            hidden = tf.nn.relu(tf.nn.conv2d(hidden, conv.kernel, 1, "SAME") + conv.bias)
        outputs.append(tf.nn.conv2d(hidden, combiner.logits.kernel, 1, "SAME") + combiner.logits.bias)
    return tf.stack(outputs, axis=1)


@pytest.mark.parametrize("batch, num_samples, hidden", [(2, 5, (8, 5)), (1, 1, (8,)), (3, 1, (4, 4, 4)), (1, 4, (8,))])
class TestSplitEqualsConcatenated:
    def test_values(self, batch, num_samples, hidden):
        combiner = made(hidden=hidden)
        features, latents = normal(batch, 4, 7, 6, seed=1), normal(batch, num_samples, 4, seed=2)
        logits = combiner(features, latents)
        assert logits.shape == (batch, num_samples, 4, 7, 3)
        np.testing.assert_allclose(logits, concatenated(combiner, features, latents), rtol=1e-5, atol=1e-5)

    def test_gradients(self, batch, num_samples, hidden):
        combiner = made(hidden=hidden)
        features, latents = normal(batch, 4, 7, 6, seed=1), normal(batch, num_samples, 4, seed=2)
        weights = normal(batch, num_samples, 4, 7, 3, seed=3)
        gradients = []
        for function in (combiner, lambda *inputs: concatenated(combiner, *inputs)):
            with tf.GradientTape() as tape:
                tape.watch([features, latents])
                total = tf.reduce_sum(function(features, latents) * weights)
            variables = [weight.value for weight in combiner.trainable_weights]
            gradients.append(tape.gradient(total, [features, latents, *variables]))
        for split, whole in zip(*gradients, strict=True):
            np.testing.assert_allclose(split, whole, rtol=1e-4, atol=1e-4)


def test_the_two_halves_are_the_whole():
    combiner = made()
    features, latents = normal(2, 4, 4, 6, seed=1), normal(2, 3, 4, seed=2)
    projected = combiner.project_features(features)
    assert projected.shape == (2, 4, 4, 8)
    np.testing.assert_array_equal(combiner.combine(projected, latents), combiner(features, latents))


def test_samples_are_not_nested():
    """An affine f_comb could only shift one threshold: of two foregrounds one would always hold the other."""
    combiner = Combiner(num_classes=2, latent_dim=1, hidden_channels=(2,))
    combiner.build((None, None, None, 1))
    # hidden = relu(f - z), relu(z - f); logit of the foreground is their difference cut at 0: one side each.
    combiner.hidden[0].kernel.assign([[[[1.0, -1.0], [-1.0, 1.0]]]])
    combiner.hidden[0].bias.assign([0, 0])
    combiner.logits.kernel.assign([[[[0.0, -1.0], [0.0, -1.0]]]])
    combiner.logits.bias.assign([0, 0.5])
    features = tf.constant([[[[0.0], [1.0]]]])
    first, second = np.argmax(combiner(features, tf.constant([[[0.0], [1.0]]])), axis=-1)[0]
    np.testing.assert_array_equal(first, [[1, 0]])
    np.testing.assert_array_equal(second, [[0, 1]])


def test_is_not_affine_in_the_latent():
    combiner = made()
    features, latents = normal(1, 4, 4, 6, seed=1), 3 * normal(1, 2, 4, seed=2)
    middle = tf.reduce_mean(latents, axis=1, keepdims=True)
    ends, between = combiner(features, latents), combiner(features, middle)
    assert np.abs(tf.reduce_mean(ends, axis=1) - between[:, 0]).max() > 0.1


def test_no_hidden_convolution_is_refused():
    with pytest.raises(ValueError, match="at least one hidden"):
        Combiner(2, 3, ())


def test_bfloat16_gives_float32_logits_near_those_of_float32():
    features, latents = normal(2, 4, 4, 6, seed=1), normal(2, 3, 4, seed=2)
    logits = made(dtype="mixed_bfloat16")(features, latents)
    exact = made()(features, latents)
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, exact, atol=0.03 * np.abs(exact).max())
    assert np.abs(logits - exact).max() > 0  # it did compute in bfloat16


def test_logits_layer_is_not_decayed():
    combiner = made(weight_decay=0.1)
    kernels = sum(np.square(conv.kernel.numpy()).sum() for conv in combiner.hidden)
    assert float(sum(combiner.losses)) == pytest.approx(0.05 * kernels, rel=1e-5)


def test_batch_samples_and_size_are_free_in_a_graph():
    combiner = made()
    specs = tf.TensorSpec((None, None, None, 6)), tf.TensorSpec((None, None, 4))
    graph = tf.function(combiner, input_signature=specs)
    for batch, num_samples, height in ((1, 1, 4), (2, 3, 6)):
        features, latents = normal(batch, height, 5, 6), normal(batch, num_samples, 4)
        np.testing.assert_allclose(graph(features, latents), combiner(features, latents), atol=1e-5)
