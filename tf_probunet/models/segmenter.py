"""The contract that every model of this package keeps: its arguments, its training, and the checks that all share."""

import keras
import tensorflow as tf

from tf_probunet.models.learner import Learner


class Segmenter(Learner):
    """A model that draws segmentation hypotheses: whatever is compared, exported or served, is one of these.

    A subclass takes flat keyword arguments, returns them all from `get_config`, and implements `build`, `call`
    (logits [B, H, W, K] of one best guess, so that `predict` works), `sample` and `objective`. The defaults are those
    of the paper for LIDC-IDRI (appendix H.1).

    Args:
        num_classes: K, background included; at least 2.
        image_channels: C of the images.
        channels: filters of the U-Net's blocks at each resolution, finest first.
        num_convs: 3x3 convolutions in a block.
        combiner_channels: filters of the hidden 1x1 convolutions between features and logits.
        upsampling: "bilinear" or "bilinear_aligned".
        normalization: of the U-Net, "none" as in the paper, "filter_response" or, but for the first block, "instance"
            (`tf_probunet.normalization`). The nets of prior and posterior have none, for they pool means.
        initializer: of all kernels, "orthogonal" or "he_normal".
        image_mean, image_stddev: the nets see (image - image_mean) / image_stddev. All-positive images of low contrast
            let the prior net forget its input early in training; the published configurations leave this alone.
        weight_decay: the loss gains weight_decay * ||kernel||^2 / 2 over all kernels but the logits layer's.
        class_weights: K numbers, what a pixel of each class counts in training; none: each counts 1, as in the paper.
            Twins of label flips should have the same, or their odds are not those of the data.
        ignore_label: class map value of pixels that count nothing.
        seed: of everything random in training; with the step number it decides each draw.

    Training data is `(images [B, H, W, C] float32, segmentations [B, H, W] int32)`, with one weight an image or none.
    """

    loss_terms = ("loss", "cross_entropy")

    def __init__(
        self,
        *,
        num_classes=2,
        image_channels=1,
        channels=(32, 64, 128, 256, 512),
        num_convs=3,
        combiner_channels=(32, 32),
        upsampling="bilinear",
        normalization="none",
        initializer="orthogonal",
        image_mean=0.0,
        image_stddev=1.0,
        weight_decay=1e-5,
        class_weights=(),
        ignore_label=255,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes counts the background and is at least 2. Received: {num_classes}.")
        if not channels:
            raise ValueError("channels needs the filters of at least one resolution. Received: ().")
        if image_stddev <= 0:
            raise ValueError(f"image_stddev must be above 0. Received: {image_stddev}.")
        if class_weights and (len(class_weights) != num_classes or min(class_weights) < 0 or max(class_weights) <= 0):
            raise ValueError(
                f"class_weights must be {num_classes} numbers, one for each class, none below 0 and one above; or "
                f"none at all. Received: {tuple(class_weights)}."
            )
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.channels = tuple(channels)
        self.num_convs = num_convs
        self.combiner_channels = tuple(combiner_channels)
        self.upsampling = upsampling
        self.normalization = normalization
        self.initializer = initializer
        self.image_mean = image_mean
        self.image_stddev = image_stddev
        self.weight_decay = weight_decay
        self.class_weights = tuple(class_weights)
        self.ignore_label = ignore_label
        self.seed = seed
        self.make_trackers()

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentation hypotheses.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M, hypotheses an image.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        raise NotImplementedError(f"{type(self).__name__} must implement sample().")

    @property
    def num_hypotheses(self) -> int | None:
        """How many different segmentations of an image there are; samples repeat none before all were there. None: no
        limit, samples are drawn independently."""
        return None

    @property
    def size_multiple(self) -> int:
        """Image height and width must be multiples of this: 2 to the number of downsamplings."""
        return 2 ** (len(self.channels) - 1)

    def cross_entropy_options(self, step) -> dict:
        """Arguments of the functions of `tf_probunet.losses` that decide what each pixel counts: in training (a step)
        by its class, in validation (None) all the same, so that figures of different weights compare."""
        return dict(ignore_label=self.ignore_label, class_weights=() if step is None else self.class_weights)

    @property
    def unet_options(self) -> dict:
        """Arguments of the U-Net."""
        return dict(channels=self.channels, num_convs=self.num_convs, upsampling=self.upsampling,
                    normalization=self.normalization, **self.part_options)

    @property
    def part_options(self) -> dict:
        """Arguments that all parts of the model share."""
        return dict(initializer=self.initializer, weight_decay=self.weight_decay, dtype=self.dtype_policy)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "image_channels": self.image_channels,
            "channels": self.channels,
            "num_convs": self.num_convs,
            "combiner_channels": self.combiner_channels,
            "upsampling": self.upsampling,
            "normalization": self.normalization,
            "initializer": self.initializer,
            "image_mean": self.image_mean,
            "image_stddev": self.image_stddev,
            "weight_decay": self.weight_decay,
            "class_weights": self.class_weights,
            "ignore_label": self.ignore_label,
            "seed": self.seed,
        }

    def unpack(self, data):
        images, segmentations, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if segmentations is None:
            raise ValueError("Training data must be (images, segmentations) pairs. Received images alone.")
        images = self.check_images(images)
        if sample_weight is not None and len(sample_weight.shape) != 1:
            raise ValueError(
                f"sample_weight must be one number an image, [B]. Received: {list(sample_weight.shape)}. Mark pixels "
                f"that shall not count with the ignore label, {self.ignore_label}."
            )
        return images, self.check_segmentations(images, segmentations), sample_weight

    # --- Checks ------------------------------------------------------------------------------------------------

    def ready(self, images):
        """Builds the model where it is not built yet, and returns images as `check_images` does."""
        self.build()
        return self.check_images(images)

    def standardize(self, images):
        """Images as the nets see them."""
        return (images - self.image_mean) / self.image_stddev

    def check_images(self, images):
        """Returns images as a float tensor [B, H, W, C], or raises a `ValueError` that says what does not fit."""
        images = tf.convert_to_tensor(images)
        if not images.dtype.is_floating:
            raise ValueError(
                f"Images must be floating point, scaled as in training (0..1 for the shipped presets). Received: "
                f"{images.dtype.name}. Divide 8-bit images by 255."
            )
        if images.shape.rank != 4 or images.shape[3] not in (None, self.image_channels):
            raise ValueError(
                f"Images must have shape [B, H, W, {self.image_channels}]. Received: {list(images.shape)}. "
                "Add the batch and channel axes with images[None, ..., None] if they are missing."
            )
        check_size(images.shape[1], images.shape[2], self.size_multiple)
        return images

    def check_segmentations(self, images, segmentations):
        """Returns segmentations as an int tensor [B, H, W] that fits `images`, or raises a `ValueError`."""
        segmentations = tf.convert_to_tensor(segmentations)
        if not segmentations.dtype.is_integer:
            raise ValueError(f"Segmentations must be integer class maps. Received: {segmentations.dtype.name}.")
        if not segmentations.shape.is_compatible_with(images.shape[:3]):
            raise ValueError(
                f"Segmentations must have the images' shape without channels, {list(images.shape[:3])}. Received: "
                f"{list(segmentations.shape)}. Pick one grader of [B, R, H, W]; drop a channel axis."
            )
        return segmentations

    def check_seed(self, seed):
        """Returns the two integers of a stateless seed; a single integer means (integer, 0)."""
        tensor = tf.convert_to_tensor(seed)
        if not tensor.dtype.is_integer or tensor.shape not in ((), (2,)):
            raise ValueError(f"seed must be an integer or two integers. Received: {seed!r}.")
        tensor = tf.cast(tensor, tf.int32)
        return tensor if tensor.shape.rank else tf.stack([tensor, 0])


def check_size(height, width, multiple):
    """Raises a `ValueError` unless height and width, where known, are multiples of `multiple`."""
    if all(size is None or (size and size % multiple == 0) for size in (height, width)):
        return
    up = ["any" if size is None else max(-(-size // multiple), 1) * multiple for size in (height, width)]
    down = ["any" if size is None else size // multiple * multiple for size in (height, width)]
    crop = f" or crop to {down[0]}x{down[1]}" if all(down) else ""
    raise ValueError(
        f"Image height and width must be multiples of {multiple} ({multiple.bit_length() - 1} downsamplings). "
        f"Received: {height}x{width}. Pad to {up[0]}x{up[1]}{crop}."
    )

