"""M-Heads: the contract, the loss against a loop, and which heads are samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import IGNORE, SegmenterContract, toy

from tf_probunet.losses import masked_cross_entropy
from tf_probunet.models import DeterministicUNet, MHeadsUNet

SMALL = dict(channels=(4, 8), num_convs=1, combiner_channels=(6,), initializer="he_normal", num_heads=3)


def small(**overrides):
    keras.utils.set_random_seed(0)
    return MHeadsUNet(**{**SMALL, **overrides})


class TestContract(SegmenterContract):
    model_class = MHeadsUNet
    arguments = SMALL
    random_samples = False


def test_every_compilation_trains_the_same_to_the_bit():
    """Where bias gradients were `BiasAddGrad`, nearly every model differed from the first: see `blocks.bias_add`."""
    rng, found = np.random.default_rng(0), set()
    images, segmentations = rng.random((8, 16, 16, 1), np.float32), rng.integers(0, 2, (8, 16, 16)).astype(np.int32)
    for _ in range(6):
        model = small(channels=(4, 4), combiner_channels=(4,), num_heads=4, initializer="orthogonal", seed=5)
        model.compile(keras.optimizers.SGD(0.01))
        model.fit(images, segmentations, batch_size=4, epochs=2, shuffle=False, verbose=0)
        found.add(b"".join(weight.numpy().tobytes() for weight in model.weights))
    assert len(found) == 1


class TestObjective:
    @pytest.mark.parametrize("epsilon, num_heads", [(0.05, 3), (0.3, 2), (0.0, 4)])
    def test_is_that_of_a_loop_over_images_and_heads(self, epsilon, num_heads):
        model = small(head_epsilon=epsilon, num_heads=num_heads, weight_decay=0.0)
        images, segmentations = toy(5, ignore=True)
        segmentations[1::2] = np.where(segmentations[1::2] == IGNORE, IGNORE, 1 - segmentations[1::2])
        model.build()
        for head in model.heads[:2]:  # one that likes background, one that likes what is not
            head.logits.bias.assign([2.0, 0.0] if head is model.heads[0] else [0.0, 2.0])
        sample_weight = np.array([1, 0.5, 2, 0, 1], np.float32)
        terms = model.objective(tf.constant(images), tf.constant(segmentations), None, sample_weight)
        logits = model.hypotheses(tf.constant(images))
        total, best_heads = 0.0, set()
        for image in range(5):
            losses = [float(masked_cross_entropy(segmentations[None, image], logits[None, image, head])[0])
                      for head in range(num_heads)]
            best = int(np.argmin(losses))
            best_heads.add(best)
            others = sum(loss for head, loss in enumerate(losses) if head != best)
            total += sample_weight[image] * ((1 - epsilon) * losses[best] + epsilon / (num_heads - 1) * others)
        assert len(best_heads) > 1  # chosen image by image
        np.testing.assert_allclose(terms["cross_entropy"], total / 5, rtol=1e-5)
        np.testing.assert_allclose(terms["loss"], terms["cross_entropy"], rtol=1e-6)

    def test_weights_sum_to_one_for_each_image(self):
        weights = small(num_heads=4).head_weights(tf.constant([[3.0, 1.0, 2.0, 4.0], [1.0, 1.0, 5.0, 1.0]]))
        rest = 0.05 / 3
        np.testing.assert_allclose(weights, [[rest, 0.95, rest, rest], [0.95, rest, rest, rest]], rtol=1e-6)

    def test_of_one_head_is_the_plain_unets(self):
        model = small(num_heads=1)
        keras.utils.set_random_seed(0)
        plain = DeterministicUNet(**{name: value for name, value in SMALL.items() if name != "num_heads"})
        images, segmentations = toy()
        for each in (model, plain):
            each.compile(keras.optimizers.Adam(1e-2))
            each.fit(images, segmentations, batch_size=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(*(each.evaluate(images, segmentations, verbose=0) for each in (model, plain)),
                                   rtol=1e-5)
        np.testing.assert_allclose(*(each.sample(images, 2) for each in (model, plain)), atol=1e-5)

    def test_gradients_reach_every_head(self):
        model = small()
        images, segmentations = toy(2)
        model.build()
        with tf.GradientTape() as tape:
            loss = model.objective(tf.constant(images), tf.constant(segmentations))["loss"]
        assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, model.trainable_weights))


class TestSamples:
    def test_are_all_heads_once_before_any_comes_again(self):
        model, (images, _) = small(num_heads=4), toy(2)
        heads = model.hypotheses(tf.constant(images)).numpy()
        orders = set()
        for seed in range(12):
            samples = model.sample(images, 6, seed=seed).numpy()
            order = tuple(int(np.abs(heads - samples[:, index, None]).max(axis=(0, 2, 3, 4)).argmin())
                          for index in range(6))
            np.testing.assert_allclose(samples, heads[:, list(order)], atol=1e-5)
            assert sorted(order[:4]) == [0, 1, 2, 3] and order[4:] == order[:2]
            orders.add(order)
        assert len(orders) > 6

    def test_a_call_is_the_mean_of_their_probabilities(self):
        model, (images, _) = small(num_classes=3), toy(2)
        expected = tf.nn.softmax(model.hypotheses(tf.constant(images))).numpy().mean(axis=1)
        np.testing.assert_allclose(np.exp(model(images)), expected, atol=1e-5)


@pytest.mark.parametrize("arguments, message", [
    ({"num_heads": 0}, "num_heads must be at least 1"), ({"head_epsilon": 1.0}, "head_epsilon must be at least 0"),
    ({"head_epsilon": -0.1}, "head_epsilon must be at least 0"),
])
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
