"""Random affine and elastic maps, mirrors and gamma, the same for an image and its segmentation, from a seed."""

import dataclasses
import math

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What may happen to a training example; the defaults change nothing but the place of the crop.

    Args:
        rotation: largest rotation in degrees, either way.
        mirror: whether left and right, top and bottom may be swapped.
        mirror_vertical: with `mirror`, whether top and bottom may be; off for scenes that have an up and a down.
        scale: smallest and largest magnification.
        shear: largest shear, as the tangent of the angle, either way.
        shift: largest offset of the crop from the image's centre in pixels, or None for all that the image has room
            for (a uniform random crop).
        elastic: largest standard deviation of the elastic displacement, along y and along x, in pixels of the image;
            each example draws its own between 0 and this.
        elastic_sigma: standard deviation in pixels of the Gaussian that smooths the displacement.
        gamma: smallest and largest exponent applied to intensities in 0..1.
        gamma_probability: of applying it.
    """

    rotation: float = 0.0
    mirror: bool = False
    mirror_vertical: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float | None = None
    elastic: float = 0.0
    elastic_sigma: float = 30.0
    gamma: tuple[float, float] = (1.0, 1.0)
    gamma_probability: float = 0.0

    def __post_init__(self):
        for name in ("scale", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers with 0 < smallest <= largest. Received: {low}, {high}.")
        for name in ("rotation", "shear", "shift"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is a largest amount, either way: 0 or more. Received: {getattr(self, name)}.")
        if self.elastic < 0:
            raise ValueError(f"elastic is a largest standard deviation: 0 or more. Received: {self.elastic}.")
        if self.elastic_sigma < 1:
            raise ValueError(f"elastic_sigma is a smoothing length: 1 pixel or more. Received: {self.elastic_sigma}.")
        if not 0 <= self.gamma_probability <= 1:
            raise ValueError(f"gamma_probability must be in 0..1. Received: {self.gamma_probability}.")

    @property
    def is_crop_only(self) -> bool:
        return not (self.rotation or self.mirror or self.shear or self.elastic) and tuple(self.scale) == (1.0, 1.0)


def augment(image, segmentation, seed, crop_size, augmentation, ignore_label=255):
    """One random view of an example.

    Both are resampled once, under one map: the image bilinearly (reflected beyond its border), the segmentation by
    nearest neighbour (`ignore_label` beyond its border, because nobody labelled what is not there). Where only the
    place of the crop is random, nothing is resampled and the crop must fit into the image.

    Args:
        image: [H, W, C] float32.
        segmentation: [H, W] int; class maps have labels up to 255.
        seed: [2] int; decides everything random here.
        crop_size: (height, width) of the result.
        augmentation: `Augmentation`.
    Returns:
        image [height, width, C] float32 and segmentation [height, width] int32.
    Raises:
        ValueError: the crop is larger than the image and `augmentation` moves the crop only.
    """
    height, width = crop_size
    seeds = tf.random.split(seed, 10)
    draws = [tf.random.stateless_uniform((), seeds[index], -1.0, 1.0) for index in range(7)]
    room = tf.cast(tf.shape(image)[:2] - tf.constant(crop_size), tf.float32) / 2  # pixels either side, y and x
    reach = room if augmentation.shift is None else tf.minimum(tf.maximum(room, 0.0), augmentation.shift)
    if augmentation.is_crop_only:
        _check_fits(image.shape[:2], crop_size)
        # Whole pixels, each place as likely as the next: the unit interval cut into (last - first + 1) equal parts.
        first, last = tf.floor(room - reach), tf.floor(room + reach)
        unit = (tf.stack([draws[0], draws[1]]) + 1) / 2
        start = tf.cast(tf.minimum(first + tf.floor(unit * (last - first + 1)), last), tf.int32)
        image = tf.slice(image, [start[0], start[1], 0], [height, width, -1])
        segmentation = tf.slice(segmentation, start, [height, width])
    else:
        shift = tf.stack([draws[0], draws[1]]) * reach
        y, x = _affine_places(draws[2:7], shift, tf.shape(image), crop_size, augmentation)
        if augmentation.elastic:
            stddev = augmentation.elastic * tf.random.stateless_uniform((), seeds[8])
            along_y, along_x = _smooth_noise(seeds[9], crop_size, augmentation.elastic_sigma)
            y, x = y + stddev * along_y, x + stddev * along_x
        image, segmentation = _bilinear(image, y, x), _nearest(segmentation, y, x, ignore_label)
    if augmentation.gamma_probability:
        low, high = augmentation.gamma
        chosen, where = tf.unstack(tf.random.stateless_uniform((2,), seeds[7]))
        gamma = tf.where(chosen < augmentation.gamma_probability, tf.exp(_between(where, low, high)), 1.0)
        inside = (image > 0.0) & (image < 1.0)  # what lies outside stays, as it does where nothing is augmented
        image = tf.where(inside, tf.pow(tf.clip_by_value(image, 0.0, 1.0), gamma), image)
    image = tf.ensure_shape(image, (height, width, image.shape[-1]))
    return image, tf.ensure_shape(tf.cast(segmentation, tf.int32), (height, width))


def _check_fits(image_size, crop_size):
    if any(side is not None and crop > side for crop, side in zip(crop_size, image_size, strict=True)):
        raise ValueError(
            f"The crop of {crop_size[0]}x{crop_size[1]} is larger than the image of {image_size[0]}x{image_size[1]}. "
            "Choose a crop that fits."
        )


def _between(unit, low, high):
    """A number in 0..1 to the logarithm of one between low and high: halving is as likely as doubling."""
    return math.log(low) + unit * (math.log(high) - math.log(low))


def _affine_places(draws, shift, image_shape, crop_size, augmentation):
    """Where in the image the crop's pixels come from: y and x, [height, width] each, in pixels."""
    angle = draws[0] * augmentation.rotation * (math.pi / 180)
    magnification = tf.exp(_between((draws[1] + 1) / 2, *augmentation.scale))
    shear = draws[2] * augmentation.shear
    allowed = (augmentation.mirror, augmentation.mirror and augmentation.mirror_vertical)
    mirror_x, mirror_y = (tf.where(draw < 0, -1.0, 1.0) if on else 1.0 for draw, on in zip(draws[3:5], allowed))
    cos, sin = tf.cos(angle) / magnification, tf.sin(angle) / magnification
    # rotation, then shear along x, then mirrors
    xx, xy = cos * mirror_x, (cos * shear - sin) * mirror_y
    yx, yy = sin * mirror_x, (sin * shear + cos) * mirror_y
    center = tf.cast(image_shape[:2] - 1, tf.float32) / 2 + shift
    out_y, out_x = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in crop_size)  # 0 in the middle
    out_y = out_y[:, None]
    return yx * out_x + (yy * out_y + center[0]), xx * out_x + (xy * out_y + center[1])


def _smooth_noise(seed, size, sigma):
    """Two Gaussian random fields, [height, width] each, of mean 0 and standard deviation 1 at every pixel.

    White noise on a lattice of spacing sigma, smoothed by a Gaussian of standard deviation sigma: that far apart the
    lattice cannot be seen, and the covariance of pixels at a distance d is exp(-d^2 / (4 sigma^2)).
    """
    along_y, along_x = (_smoothing(side, sigma) for side in size)
    (height, rows), (width, columns) = along_y.shape, along_x.shape
    # Both fields side by side: plain matrices multiply several times as fast as a batch of two.
    noise = tf.random.stateless_normal((rows, 2 * columns), seed)
    noise = tf.reshape(tf.matmul(along_y, noise), [height * 2, columns])
    return tf.unstack(tf.reshape(tf.matmul(noise, along_x, transpose_b=True), [height, 2, width]), axis=1)


def _smoothing(side, sigma):
    """The weight of each lattice point for each pixel of a side, [side, points]; the squares of a row sum to 1."""
    reach = 3  # lattice points beyond either border; those left out have a weight of 0.003 at most
    points = sigma * np.arange(-reach, (side - 1) / sigma + reach + 1)
    weights = np.exp(-(((np.arange(side)[:, None] - points) / sigma) ** 2) / 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _bilinear(image, y, x):
    """The image [H, W, C] at places y and x, reflected beyond its borders: c b a | a b c | c b a."""
    height, width = tf.unstack(tf.shape(image)[:2])
    top, lower, down = _neighbours(y, height)
    left, right, across = _neighbours(x, width)
    pixels = tf.reshape(image, [-1, image.shape[-1]])
    above, below = (
        _mix(tf.gather(pixels, row + left), tf.gather(pixels, row + right), across)
        for row in (top * width, lower * width)
    )
    return _mix(above, below, down)


def _neighbours(place, length):
    """The indices before and after a place, and the share of the one after, [height, width, 1]."""
    length = tf.cast(length, tf.float32)
    # Images in an endless row, each the mirror image of its neighbours, repeat after two lengths.
    place = place + 0.5
    place -= 2 * length * tf.floor(place / (2 * length))
    place = tf.clip_by_value(tf.minimum(place, 2 * length - place) - 0.5, 0.0, length - 1)
    before = tf.floor(place)
    after = tf.minimum(before + 1, length - 1)
    return tf.cast(before, tf.int32), tf.cast(after, tf.int32), (place - before)[..., None]


def _mix(first, second, share):
    return first + (second - first) * share


def _nearest(segmentation, y, x, ignore_label):
    """The segmentation [H, W] at places y and x, `ignore_label` beyond its borders."""
    height, width = tf.unstack(tf.shape(segmentation))
    row, column = (tf.cast(tf.floor(place + 0.5), tf.int32) for place in (y, x))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    labels = tf.gather(tf.reshape(segmentation, [-1]), tf.where(inside, row * width + column, 0))
    return tf.where(inside, labels, tf.cast(ignore_label, labels.dtype))
