"""Masked cross-entropy against a double loop."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.losses import masked_cross_entropy, standard_gumbel, stochastic_top_k


def reference(segmentation, logits, ignore_label, weights=None):
    totals = []
    for labels, scores in zip(segmentation, logits, strict=True):
        total = 0.0
        for row, column in np.ndindex(labels.shape):
            if labels[row, column] != ignore_label:
                pixel = scores[row, column].astype(np.float64)
                weight = 1.0 if weights is None else weights[labels[row, column]]
                total += weight * (np.log(np.exp(pixel - pixel.max()).sum()) + pixel.max() - pixel[labels[row, column]])
        totals.append(total)
    return np.array(totals)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(data=st.data(), batch=st.integers(1, 3), size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
                  num_classes=st.integers(2, 5), ignore_label=st.sampled_from([255, -1, 0]),
                  dtype=st.sampled_from([np.int32, np.int64, np.uint8]), seed=st.integers(0, 100))
def test_equals_a_double_loop(data, batch, size, num_classes, ignore_label, dtype, seed):
    hypothesis.assume(ignore_label >= 0 or dtype != np.uint8)
    labels = st.sampled_from([*range(num_classes), ignore_label])
    segmentation = data.draw(hypothesis.extra.numpy.arrays(dtype, (batch, *size), elements=labels))
    logits = np.random.default_rng(seed).normal(0, 5, (batch, *size, num_classes)).astype(np.float32)
    found = masked_cross_entropy(tf.constant(segmentation), tf.constant(logits), ignore_label)
    np.testing.assert_allclose(found, reference(segmentation, logits, ignore_label), rtol=1e-4, atol=1e-4)
    weights = tuple(np.random.default_rng(seed + 1).uniform(0, 3, num_classes))
    found = masked_cross_entropy(tf.constant(segmentation), tf.constant(logits), ignore_label, weights)
    np.testing.assert_allclose(found, reference(segmentation, logits, ignore_label, weights), rtol=1e-4, atol=1e-4)


def test_is_a_sum_over_pixels_not_a_mean():
    segmentation, logits = np.zeros((2, 8, 8), np.int32), np.zeros((2, 8, 8, 2), np.float32)
    np.testing.assert_allclose(masked_cross_entropy(segmentation, logits), [64 * np.log(2)] * 2, rtol=1e-6)


def test_an_image_without_labels_counts_nothing_and_has_finite_gradients():
    segmentation = np.stack([np.full((4, 4), 255), np.ones((4, 4))]).astype(np.int32)
    logits = tf.Variable(np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        losses = masked_cross_entropy(segmentation, logits)
        total = tf.reduce_sum(losses)
    gradient = tape.gradient(total, logits).numpy()
    assert losses[0] == 0 and losses[1] > 0
    assert not gradient[0].any() and np.isfinite(gradient).all() and gradient[1].any()


def test_ignored_pixels_get_no_gradient():
    segmentation = np.array([[[0, 255], [1, 255]]], np.int32)
    logits = tf.Variable(np.random.default_rng(0).standard_normal((1, 2, 2, 2)).astype(np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(masked_cross_entropy(segmentation, logits))
    gradient = tape.gradient(total, logits).numpy()
    assert not gradient[:, :, 1].any() and gradient[:, :, 0].all()


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_is_finite_for_huge_logits(scale):
    logits = np.array([[[[scale, -scale]]]], np.float32)
    assert np.isfinite(masked_cross_entropy(np.zeros((1, 1, 1), np.int32), logits)).all()


class TestStochasticTopK:
    def test_without_noise_takes_the_dearest_pixels_of_each_image(self):
        per_pixel = tf.constant(np.arange(32, dtype=np.float32).reshape(2, 4, 4) % 16)
        chosen = stochastic_top_k(per_pixel, 0.25, tf.zeros_like(per_pixel)).numpy()
        np.testing.assert_array_equal(chosen, (per_pixel.numpy() >= 12).astype(np.float32))

    def test_at_least_one_pixel_counts_and_free_ones_never(self):
        per_pixel = np.zeros((2, 4, 4), np.float32)
        per_pixel[0, 1, 2] = 3.0
        chosen = stochastic_top_k(tf.constant(per_pixel), 0.5, tf.zeros_like(per_pixel)).numpy()
        assert chosen.sum() == 1 and chosen[0, 1, 2] == 1
        assert stochastic_top_k(tf.ones((1, 4, 4)), 1e-6, standard_gumbel((1, 4, 4), (0, 0))).numpy().sum() == 1

    def test_the_first_drawn_is_drawn_in_proportion_to_its_cost(self):
        """Of many images with the same four costs one pixel is taken each: its frequency is its share of the cost."""
        cost = np.array([[1, 2], [3, 4]], np.float32)
        per_pixel = tf.constant(np.broadcast_to(cost, (20_000, 2, 2)))
        chosen = stochastic_top_k(per_pixel, 0.25, standard_gumbel((20_000, 2, 2), (3, 4)))
        np.testing.assert_allclose(chosen.numpy().mean(axis=0), cost / 10, atol=0.012)  # 3.5 standard errors

    def test_is_a_constant_to_differentiation(self):
        per_pixel = tf.Variable(np.random.default_rng(0).random((1, 4, 4)).astype(np.float32))
        with tf.GradientTape() as tape:
            chosen = stochastic_top_k(per_pixel, 0.5, tf.zeros((1, 4, 4)))
            loss = tf.reduce_sum(chosen * per_pixel)
        np.testing.assert_array_equal(tape.gradient(loss, per_pixel), chosen)


def test_gumbel_noise_has_its_moments():
    noise = standard_gumbel((100_000,), (1, 2)).numpy()
    assert np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.03)
