"""The U-Net Ensemble: the contract, that members learn alone, and which of them are samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import SegmenterContract, toy

from tf_probunet.models import DeterministicUNet, UNetEnsemble

SMALL = dict(channels=(4, 8), num_convs=1, combiner_channels=(6,), initializer="he_normal", num_members=2)


def small(**overrides):
    keras.utils.set_random_seed(0)
    return UNetEnsemble(**{**SMALL, **overrides})


def plain(**overrides):
    return DeterministicUNet(**{name: value for name, value in (SMALL | overrides).items() if name != "num_members"})


class TestContract(SegmenterContract):
    model_class = UNetEnsemble
    arguments = SMALL
    random_samples = False
    num_samples = 2


class TestMembers:
    def test_start_apart(self):
        model = small(num_members=3)
        model.build()
        kernels = [member.unet.encoder.blocks[0].convs[0].kernel.numpy() for member in model.members]
        assert all(np.abs(kernels[one] - kernels[other]).max() > 0.01 for one in range(3) for other in range(one))

    def test_have_all_arguments(self):
        shared = dict(num_classes=3, image_channels=2, channels=(4, 8), num_convs=2, combiner_channels=(5,),
                      upsampling="bilinear_aligned", initializer="orthogonal", image_mean=0.2, image_stddev=0.4,
                      weight_decay=0.1, ignore_label=9, seed=11)
        for member in UNetEnsemble(num_members=2, **shared).members:
            config = member.get_config()
            assert {name: config[name] for name in shared} == shared

    def test_train_as_each_would_alone(self):
        """Also where the ensemble has one optimizer for all: Adam looks at each weight alone."""
        images, segmentations = toy(8)
        model = small()
        model.compile(keras.optimizers.Adam(1e-2))
        alone = [plain() for _ in model.members]
        for other, member in zip(alone, model.members, strict=True):
            other.compile(keras.optimizers.Adam(1e-2))
            other.set_weights(member.get_weights())
        histories = [
            each.fit(images, segmentations, batch_size=4, epochs=2, shuffle=False, verbose=0).history
            for each in (model, *alone)
        ]
        for other, member in zip(alone, model.members, strict=True):
            for weight, expected in zip(member.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_allclose(weight, expected, atol=1e-5)
        for name in ("loss", "cross_entropy"):
            expected = np.mean([history[name] for history in histories[1:]], axis=0)
            np.testing.assert_allclose(histories[0][name], expected, rtol=1e-5)

    def test_one_member_is_the_plain_unet(self):
        model = small(num_members=1)
        keras.utils.set_random_seed(0)
        other = plain()
        images, _ = toy()
        np.testing.assert_allclose(model.sample(images, 2), other.sample(images, 2), atol=1e-5)
        np.testing.assert_allclose(tf.nn.softmax(model(images)), tf.nn.softmax(other(images)), atol=1e-5)

    def test_none_is_refused(self):
        with pytest.raises(ValueError, match="num_members must be at least 1"):
            small(num_members=0)


class TestSamples:
    def test_are_all_members_once_before_any_comes_again(self):
        model, (images, _) = small(num_members=3), toy(2)
        members = np.stack([member(images) for member in model.members], axis=1)
        orders = set()
        for seed in range(10):
            samples = model.sample(images, 5, seed=seed).numpy()
            order = tuple(int(np.abs(members - samples[:, index, None]).max(axis=(0, 2, 3, 4)).argmin())
                          for index in range(5))
            np.testing.assert_allclose(samples, members[:, list(order)], atol=1e-5)
            assert sorted(order[:3]) == [0, 1, 2] and order[3:] == order[:2]
            np.testing.assert_allclose(model.sample(images, 2, seed=seed), samples[:, :2], atol=1e-6)
            orders.add(order)
        assert len(orders) > 3

    def test_a_call_is_the_mean_of_their_probabilities(self):
        model, (images, _) = small(num_classes=3), toy(2)
        expected = np.mean([tf.nn.softmax(member(images)) for member in model.members], axis=0)
        np.testing.assert_allclose(np.exp(model(images)), expected, atol=1e-5)

    def test_new_sizes_and_numbers_of_samples_do_not_trace_anew(self):
        model = small()
        for batch, size, num_samples in ((1, 8, 1), (2, 16, 2), (3, 24, 3), (4, 16, 5)):
            model.sample(toy(batch, size, size)[0], num_samples)
        assert model._hypotheses.experimental_get_tracing_count() <= 2
