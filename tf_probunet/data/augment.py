"""Random affine maps, mirrors and gamma, the same for an image and its segmentation, from an explicit seed."""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What may happen to a training example; the defaults change nothing but the place of the crop.

    Args:
        rotation: largest rotation in degrees, either way.
        mirror: whether left and right, top and bottom may be swapped.
        scale: smallest and largest magnification.
        shear: largest shear, as the tangent of the angle, either way.
        shift: largest offset of the crop from the image's centre in pixels, or None for all that the image has room
            for (a uniform random crop).
        gamma: smallest and largest exponent applied to intensities in 0..1.
        gamma_probability: of applying it.
    """

    rotation: float = 0.0
    mirror: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float | None = None
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
        if not 0 <= self.gamma_probability <= 1:
            raise ValueError(f"gamma_probability must be in 0..1. Received: {self.gamma_probability}.")

    @property
    def is_crop_only(self) -> bool:
        return not (self.rotation or self.mirror or self.shear) and tuple(self.scale) == (1.0, 1.0)


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
    seeds = tf.random.split(seed, 8)
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
        transform = _output_to_input(draws[2:7], shift, tf.shape(image), crop_size, augmentation)
        image = _warp(image, transform, crop_size, "BILINEAR", "REFLECT", 0.0)
        labels = tf.cast(segmentation, tf.uint8)[..., None]
        segmentation = _warp(labels, transform, crop_size, "NEAREST", "CONSTANT", float(ignore_label))[..., 0]
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


def _output_to_input(draws, shift, image_shape, crop_size, augmentation):
    """The 8 coefficients that map a crop's pixel (x, y) to the image's, as ImageProjectiveTransformV3 wants them."""
    angle = draws[0] * augmentation.rotation * (math.pi / 180)
    magnification = tf.exp(_between((draws[1] + 1) / 2, *augmentation.scale))
    shear = draws[2] * augmentation.shear
    mirror_x, mirror_y = (tf.where(draw < 0, -1.0, 1.0) if augmentation.mirror else 1.0 for draw in draws[3:5])
    cos, sin = tf.cos(angle) / magnification, tf.sin(angle) / magnification
    # rotation, then shear along x, then mirrors
    xx, xy = cos * mirror_x, (cos * shear - sin) * mirror_y
    yx, yy = sin * mirror_x, (sin * shear + cos) * mirror_y
    out_y, out_x = (crop_size[0] - 1) / 2, (crop_size[1] - 1) / 2
    center = tf.cast(image_shape[:2] - 1, tf.float32) / 2 + shift
    offset_x = center[1] - xx * out_x - xy * out_y
    offset_y = center[0] - yx * out_x - yy * out_y
    return tf.stack([xx, xy, offset_x, yx, yy, offset_y, 0.0, 0.0])


def _warp(image, transform, size, interpolation, fill_mode, fill_value):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None], transforms=transform[None], output_shape=size, fill_value=fill_value,
        interpolation=interpolation, fill_mode=fill_mode,
    )[0]
