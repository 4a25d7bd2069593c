"""The U-Net's shapes and wiring, and the published parameter counts part by part."""

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.blocks import Downsample, Upsample
from tf_probunet.models import ProbabilisticUNet
from tf_probunet.presets import preset
from tf_probunet.unet import Encoder, UNet

# FACTS of the two published configurations, every convolution with bias.
PUBLISHED = {
    "lidc_paper": dict(whole=27_499_098, unet=11_773_536, prior_net=7_861_452, posterior_net=7_861_740,
                       combiner=2_370),
    "cityscapes_official": dict(whole=17_954_736, unet=9_231_456, prior_net=4_356_108, posterior_net=4_363_020,
                                combiner=4_152),
}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request):
    """A published model with cheap kernels (orthogonal ones of this size take seconds), and its counts."""
    experiment = preset(request.param)
    model = ProbabilisticUNet(**{**experiment.model_arguments(), "initializer": "he_normal"})
    model.build()
    return model, PUBLISHED[request.param]


class TestPublishedConfigurations:
    def test_parameter_counts_part_by_part(self, published):
        model, expected = published
        assert {part: getattr(model, part).count_params() for part in expected if part != "whole"} == {
            part: count for part, count in expected.items() if part != "whole"
        }

    def test_parameter_count_of_the_whole(self, published):
        model, expected = published
        assert model.count_params() == expected["whole"]
        assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == expected["whole"]

    def test_every_convolution_has_a_bias(self, published):
        model, _ = published
        kernels = [weight for weight in model.weights if weight.name == "kernel"]
        biases = [weight for weight in model.weights if weight.name == "bias"]
        assert [tuple(bias.shape) for bias in biases] == [(kernel.shape[-1],) for kernel in kernels]
        assert len(kernels) + len(biases) == len(model.weights)


def test_a_two_class_one_hot_adds_288_parameters():
    arguments = {**preset("lidc_paper").model_arguments(), "initializer": "he_normal"}
    model = ProbabilisticUNet(**{**arguments, "segmentation_encoding": "one_hot"})
    model.build()
    assert model.posterior_net.count_params() == PUBLISHED["lidc_paper"]["posterior_net"] + 288


class TestEncoder:
    def test_gives_an_activation_at_each_resolution_finest_first(self):
        outputs = Encoder((4, 6, 8), num_convs=1)(images(2, 16, 24, 1))
        assert [tuple(output.shape) for output in outputs] == [(2, 16, 24, 4), (2, 8, 12, 6), (2, 4, 6, 8)]

    def test_halves_between_blocks(self):
        encoder = Encoder((4, 6), num_convs=2)
        fine, coarse = encoder(images(1, 8, 8, 1))
        np.testing.assert_allclose(encoder.blocks[1](Downsample()(fine)), coarse, atol=1e-6)


class TestUNet:
    @pytest.mark.parametrize("height, width", [(16, 16), (8, 32)])
    def test_features_have_the_size_of_the_image(self, height, width):
        assert UNet((4, 6, 8), num_convs=1)(images(2, height, width, 3)).shape == (2, height, width, 4)

    def test_a_decoder_block_reads_the_skip_and_then_what_comes_from_below(self):
        unet = UNet((4, 6), num_convs=1, upsampling="bilinear_aligned")
        inputs = images(2, 8, 8, 1)
        outputs = unet(inputs)
        skip, bottom = unet.encoder(inputs)
        below = Upsample("bilinear_aligned")(bottom)
        np.testing.assert_allclose(unet.decoder_blocks[0](tf.concat([skip, below], -1)), outputs, atol=1e-6)

    def test_one_resolution_is_a_single_block(self):
        unet = UNet((4,), num_convs=1)
        assert unet(images(1, 5, 7, 1)).shape == (1, 5, 7, 4)
        assert unet.count_params() == 9 * 4 + 4

    def test_weight_decay_covers_every_kernel_once(self):
        unet = UNet((4, 6), num_convs=2, weight_decay=0.1)
        unet(images(1, 8, 8, 1))
        kernels = sum(np.square(weight.numpy()).sum() for weight in unet.weights if weight.name == "kernel")
        assert float(sum(unet.losses)) == pytest.approx(0.05 * kernels, rel=1e-5)

    def test_every_weight_has_a_gradient(self):
        unet = UNet((4, 6, 8), num_convs=2)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(unet(images(2, 16, 16, 1)) ** 2)
        gradients = tape.gradient(loss, unet.trainable_weights)
        assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in gradients)

    def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(self):
        unet = UNet((4, 6), num_convs=1, dtype="mixed_bfloat16")
        assert unet(images(1, 8, 8, 1)).dtype == tf.bfloat16
        assert {weight.dtype for weight in unet.weights} == {"float32"}

    def test_comes_back_from_its_config(self):
        unet = UNet((4, 6), num_convs=2, upsampling="bilinear_aligned", initializer="he_normal", weight_decay=0.1)
        again = UNet.from_config(unet.get_config())
        again.build((None, None, None, 1))
        assert again.upsample.method == "bilinear_aligned"
        assert again.count_params() == 9 * (4 + 16 + 24 + 36 + 40 + 16) + 4 * 2 + 6 * 2 + 4 * 2
