"""The Dropout U-Net: the contract, where it drops, that each sample has masks of its own, and none without need."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import SegmenterContract, toy

from tf_probunet.models import DeterministicUNet, DropoutUNet

SMALL = dict(channels=(4, 8), num_convs=1, combiner_channels=(6, 6), initializer="he_normal")


def small(cls=DropoutUNet, **overrides):
    keras.utils.set_random_seed(0)
    return cls(**{**SMALL, **overrides})


class TestContract(SegmenterContract):
    model_class = DropoutUNet
    arguments = SMALL

    def test_fit_lowers_the_loss(self):
        """Half of 8 channels is much to drop; the toy needs a little left to learn from."""
        self.arguments = {**SMALL, "dropout_rate": 0.1}
        super().test_fit_lowers_the_loss()


class TestPlaces:
    @pytest.mark.parametrize("num_resolutions, encoder, decoder", [
        (7, [4, 5, 6], [5, 4, 3]), (5, [2, 3, 4], [3, 2, 1]), (4, [1, 2, 3], [2, 1, 0]), (3, [1, 2], [1, 0]),
        (2, [1], [0]),
    ])
    def test_are_the_three_innermost_blocks_of_each_path(self, num_resolutions, encoder, decoder):
        """Found by what the blocks read: ones before, scaled ones or zeros where something was dropped."""
        model = small(channels=(2,) * num_resolutions)
        read = []
        hook = model.before_block(tf.constant([1, 2]))
        model.logits(tf.zeros((1, 64, 64, 1)),
                     lambda activations, place: read.append(hook(tf.ones_like(activations), place)) or activations)
        dropped = [bool(tf.reduce_any(activations != 1)) for activations in read]
        assert [index for index in range(num_resolutions) if dropped[index]] == encoder
        # The decoder's blocks come coarsest first.
        blocks = list(range(num_resolutions - 2, -1, -1))
        assert [block for block, hit in zip(blocks, dropped[num_resolutions:], strict=True) if hit] == decoder
        # What a decoder block reads is the skip and what comes from below.
        assert [activations.shape[-1] for activations in read[num_resolutions:]] == [4] * (num_resolutions - 1)

    def test_share_and_scale_are_right_and_masks_differ_between_places(self):
        hook = small(channels=(4, 8, 8), dropout_rate=0.3).before_block(tf.constant([1, 2]))
        ones = tf.ones((2, 32, 32, 16))
        found = [hook(ones, place).numpy() for place in (1, 2, 3, 4)]
        for mask in found:
            np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.7], rtol=1e-6)
            assert (mask == 0).mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / mask.size))
        assert all(np.mean((one == 0) & (other == 0)) < 0.12 for one in found for other in found if one is not other)

    def test_one_resolution_has_no_inner_blocks(self):
        with pytest.raises(ValueError, match=r"at least two resolutions. Received: \(4,\)"):
            small(channels=(4,))

    @pytest.mark.parametrize("rate", [-0.1, 1.0, 2])
    def test_a_rate_that_is_none_is_refused(self, rate):
        with pytest.raises(ValueError, match="dropout_rate must be at least 0 and below 1"):
            small(dropout_rate=rate)


class TestSamples:
    def test_without_a_rate_it_is_the_plain_unet(self):
        """In training, too, to the last bit but for the order of sums."""
        models = small(dropout_rate=0.0), small(DeterministicUNet)
        images, segmentations = toy()
        for model in models:
            model.compile(keras.optimizers.Adam(1e-2))
            model.fit(images, segmentations, batch_size=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(*(model.sample(images, 3) for model in models), atol=1e-5)

    def test_are_all_different_and_those_of_fewer_are_the_first_of_more(self):
        model, (images, _) = small(), toy(2)
        samples = model.sample(images, 4, seed=(1, 2)).numpy()
        for index in range(4):
            assert all(np.abs(samples[:, index] - samples[:, other]).max() > 1e-3 for other in range(index))
        np.testing.assert_allclose(model.sample(images, 2, seed=(1, 2)), samples[:, :2], atol=1e-6)

    def test_images_of_a_batch_have_different_masks(self):
        model, (images, _) = small(), toy(1)
        samples = model.sample(np.repeat(images, 2, axis=0), 1)
        assert np.abs(samples[0] - samples[1]).max() > 1e-3

    def test_a_call_and_validation_drop_nothing(self):
        model, plain = small(), small(DeterministicUNet)
        images, segmentations = toy(2)
        for each in (model, plain):
            each.compile()
        np.testing.assert_allclose(model(images), plain(images), atol=1e-6)
        np.testing.assert_allclose(*(each.evaluate(images, segmentations, verbose=0) for each in (model, plain)),
                                   rtol=1e-6)

    def test_masks_of_training_change_with_step_and_seed(self):
        images, segmentations = toy(2)
        losses = {}
        for seed, step in ((0, 0), (0, 1), (1, 0), (0, 0)):
            model = small(seed=seed)
            noise = model.training_noise(images, tf.constant(step))
            loss = model.objective(tf.constant(images), tf.constant(segmentations), noise)["loss"]
            losses.setdefault((seed, step), []).append(float(loss))
        assert losses[0, 0][0] == losses[0, 0][1]
        assert len({values[0] for values in losses.values()}) == 3

    def test_new_sizes_and_numbers_of_samples_do_not_trace_anew(self):
        model = small()
        for batch, size, num_samples in ((1, 8, 1), (2, 16, 2), (3, 24, 3), (4, 16, 5)):
            model.sample(toy(batch, size, size)[0], num_samples)
        assert model._sample.experimental_get_tracing_count() <= 2
