"""The contract that every model of this package keeps, and the checks that they share."""

import keras
import tensorflow as tf


class Segmenter(keras.Model):
    """A model that draws segmentation hypotheses: whatever is compared, exported or served, is one of these.

    A subclass takes flat keyword arguments, returns them all from `get_config`, and implements `build`, `call`
    (logits [B, H, W, K] of one best guess, so that `predict` works) and `sample`.

    Args:
        num_classes: K, background included; at least 2.
        image_channels: C of the images.
        channels: filters of the U-Net at each resolution, finest first.
        ignore_label: class map value of pixels that count nothing.
        seed: of everything random in training.
    """

    def __init__(self, *, num_classes, image_channels, channels, ignore_label, seed, **kwargs):
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes counts the background and is at least 2. Received: {num_classes}.")
        if not channels:
            raise ValueError("channels needs the filters of at least one resolution. Received: ().")
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.channels = tuple(channels)
        self.ignore_label = ignore_label
        self.seed = seed

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentation hypotheses.

        Args:
            images: [B, H, W, C] float32.
            num_samples: M, hypotheses an image.
            seed: two integers; the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        raise NotImplementedError(f"{type(self).__name__} must implement sample().")

    @property
    def size_multiple(self) -> int:
        """Image height and width must be multiples of this: 2 to the number of downsamplings."""
        return 2 ** (len(self.channels) - 1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "image_channels": self.image_channels,
            "channels": self.channels,
            "ignore_label": self.ignore_label,
            "seed": self.seed,
        }

    def compile(self, optimizer="adam", *, jit_compile=False, **kwargs):
        """As `keras.Model.compile`, without a loss argument: the objective is the model's own.

        XLA is off unless asked for, because it makes the training step slower on CPUs.
        """
        for argument in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"{type(self).__name__} has its own objective and metrics; call compile() without `{argument}`."
                )
        self.build()  # training steps call the parts, never the whole, so Keras would not
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config):
        """Compiles a loaded model as the saved one was, which Keras leaves to models with a `compile` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)  # so that the saved state finds its variables

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
