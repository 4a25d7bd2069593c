"""The checks that all models share, and the contract's defaults."""

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.models import Segmenter
from tf_probunet.models.segmenter import check_size


def segmenter(**options):
    arguments = dict(num_classes=2, image_channels=1, channels=(4, 8, 8), ignore_label=255, seed=0)
    return Segmenter(**{**arguments, **options})


class TestCheckSize:
    @pytest.mark.parametrize("height, width", [(32, 64), (16, None), (None, None)])
    def test_multiples_and_unknown_sizes_pass(self, height, width):
        check_size(height, width, 16)

    @pytest.mark.parametrize("height, width, message", [
        (180, 180, r"multiples of 16 \(4 downsamplings\). Received: 180x180. Pad to 192x192 or crop to 176x176.$"),
        (16, 20, r"Received: 16x20. Pad to 16x32 or crop to 16x16.$"),
        (8, 20, r"Received: 8x20. Pad to 16x32.$"),
        (0, 16, r"Received: 0x16. Pad to 16x16.$"),
        (None, 20, r"Received: Nonex20. Pad to anyx32 or crop to anyx16.$"),
    ])
    def test_the_message_gives_the_remedy(self, height, width, message):
        with pytest.raises(ValueError, match=message):
            check_size(height, width, 16)


class TestCheckImages:
    def test_unknown_dimensions_pass_in_a_graph(self):
        model = segmenter()
        graph = tf.function(model.check_images, input_signature=[tf.TensorSpec((None, None, None, None))])
        assert graph(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 8, 8, 1)

    def test_lists_are_tensors(self):
        assert segmenter().check_images(np.zeros((1, 4, 4, 1)).tolist()).shape == (1, 4, 4, 1)


class TestCheckSegmentations:
    def test_unknown_dimensions_pass(self):
        model = segmenter()
        specs = [tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None, None, None), tf.int32)]
        graph = tf.function(model.check_segmentations, input_signature=specs)
        found = graph(np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 8, 8), np.int32))
        assert found.shape == (1, 8, 8)

    def test_another_batch_size_is_refused(self):
        with pytest.raises(ValueError, match=r"\[2, 8, 8\]. Received: \[3, 8, 8\]"):
            segmenter().check_segmentations(tf.zeros((2, 8, 8, 1)), np.zeros((3, 8, 8), np.int32))


class TestCheckSeed:
    @pytest.mark.parametrize("seed, expected", [(5, [5, 0]), (np.int64(5), [5, 0]), ((1, 2), [1, 2])])
    def test_one_integer_or_two(self, seed, expected):
        np.testing.assert_array_equal(segmenter().check_seed(seed), expected)


def test_size_multiple_is_two_to_the_downsamplings():
    assert segmenter().size_multiple == 4
    assert segmenter(channels=(4,)).size_multiple == 1


def test_config_holds_the_shared_arguments():
    config = segmenter(seed=4).get_config()
    assert {name: config[name] for name in ("num_classes", "image_channels", "channels", "ignore_label", "seed")} == {
        "num_classes": 2, "image_channels": 1, "channels": (4, 8, 8), "ignore_label": 255, "seed": 4
    }


def test_a_model_without_sample_says_so():
    with pytest.raises(NotImplementedError, match="Segmenter must implement sample"):
        segmenter().sample(np.zeros((1, 8, 8, 1), np.float32))
