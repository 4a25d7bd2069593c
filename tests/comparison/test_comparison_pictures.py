"""Cases spread evenly, a model's samples of them, and which way round the plane of two latents lies."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet.comparison.pictures import PLANE_EXTENT, PLANE_SIDE, draw_pictures, latent_plane, read_cases
from tf_probunet.data.reading import evaluation_dataset


class Plane:
    """z has mean (1, -2) and stddev (0.5, 2): the left half is marked where z1 > 1, the upper half where z2 > -2."""

    num_classes, ignore_label, latent_dim = 3, 255, 2

    def prior(self, images):
        mean = tf.tile([[1.0, -2.0]], [len(images), 1])
        return tfp.distributions.MultivariateNormalDiag(mean, tf.tile([[0.5, 2.0]], [len(images), 1]))

    def posterior(self, images, segmentations):
        share = tf.reduce_mean(tf.cast(segmentations, tf.float32), axis=(1, 2))
        return tfp.distributions.MultivariateNormalDiag(tf.stack([1 + share, -2 + 4 * share], axis=1), tf.ones([1, 2]))

    def sample_from_noise(self, images, noise):
        size = images.shape[1]
        maps = np.zeros((len(noise), noise.shape[1], size, size), int)
        maps[..., : size // 2] += (noise[..., 0] > 0.1)[..., None, None]
        maps[..., : size // 2, :] += 2 * (noise[..., 1] > 0.1)[..., None, None] * (maps[..., : size // 2, :] == 0)
        return tf.one_hot(maps, 3)

    def sample(self, images, num_samples, seed):
        noise = np.random.default_rng(seed).normal(size=(len(images), num_samples, 2))
        return self.sample_from_noise(images, noise)


def test_cases_are_those_of_the_split_evenly_spread(tiny_info):
    cases = read_cases(tiny_info, "val", 4, (24, 24))
    whole = list(evaluation_dataset(tiny_info, "val", 1, crop_size=(24, 24)).as_numpy_iterator())
    assert cases["source_ids"].tolist() == [whole[place]["source_id"][0].decode() for place in (0, 2, 4, 6)]
    assert cases["images"].shape == (4, 24, 24, 1) and cases["images"].dtype == np.uint8
    np.testing.assert_allclose(cases["images"][1] / 255, whole[2]["image"][0], atol=1 / 500)
    assert cases["segmentations"].shape == (4, 4, 24, 24)
    np.testing.assert_array_equal(cases["segmentations"][3], whole[6]["segmentations"][0])


def test_more_cases_than_images_are_all_images(tiny_info):
    assert len(read_cases(tiny_info, "val", 99, None)["images"]) == 8


def test_the_plane_runs_from_low_left_to_high_right():
    plane = latent_plane(Plane(), np.zeros((1, 8, 8, 1), np.float32), np.stack([np.ones((8, 8)), np.zeros((8, 8))]))
    maps = plane["plane"]
    assert maps.shape == (PLANE_SIDE, PLANE_SIDE, 8, 8) and (PLANE_SIDE, PLANE_EXTENT) == (9, 3.0)
    assert not maps[8, 0].any()  # both latents low
    assert (maps[8, 8] == 1)[:, :4].all() and not maps[8, 8][:, 4:].any()  # the first latent grows to the right
    assert (maps[0, 0] == 2)[:4].all() and not maps[0, 0][4:].any()  # the second upwards
    np.testing.assert_allclose([plane["plane_mean"], plane["plane_stddev"]], [[1, -2], [0.5, 2]])
    np.testing.assert_allclose(plane["plane_posteriors"], [[2, 2], [0, 0]])  # in standard deviations of the prior


def test_pictures_are_the_models_own_samples(tiny_info):
    pictures = draw_pictures(Plane(), tiny_info, "val", num_cases=2, num_samples=5, seed=3, crop_size=None)
    assert pictures["source_ids"].tolist() == read_cases(tiny_info, "val", 2, None)["source_ids"].tolist()
    expected = [Plane().sample(np.zeros((1, 32, 32, 1)), 5, (3, index))[0].numpy().argmax(-1) for index in range(2)]
    np.testing.assert_array_equal(pictures["samples"], expected)
    assert pictures["probability"].dtype == np.uint8 and pictures["plane"].shape == (2, 9, 9, 32, 32)
    one = Plane()
    one.latent_dim = 3
    again = draw_pictures(one, tiny_info, "val", num_cases=2, num_samples=5, seed=3, crop_size=None)
    assert sorted(again) == ["probability", "samples", "source_ids"]
