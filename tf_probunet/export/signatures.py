"""The signatures of an exported model: what each takes and gives, and an example of its inputs.

Randomness is always an input, and every input shares dimension 0, so that TensorFlow Serving may batch any of them.
"""

import numpy as np
import tensorflow as tf

from tf_probunet.data.dataset import ImageEncoding


class Signatures(tf.Module):
    """The functions that are served; none uses the posterior net, so it stays behind.

    Args:
        model: see `tf_probunet.export.saved_model.export`.
        size: height and width of example images, and of what `encoded` cuts out of its images.
        half_features: whether features travel as float16.
        encoding: how the integers of PNGs become what the model sees; None leaves `encoded` out.
    """

    def __init__(self, model, size, *, half_features=False, encoding: ImageEncoding | None = None):
        super().__init__()
        self.model_trunk, self.combiner_layer = model.trunk, model.combiner
        self.size, self.encoding = tuple(size), encoding
        self.feature_dtype = tf.float16 if half_features else tf.float32
        self.channels, self.latent_dim = model.image_channels, model.latent_dim
        self.feature_channels = model.combiner_channels[0]
        if encoding is not None and encoding.channels != self.channels:
            raise ValueError(f"The model sees {self.channels} channels; the images' encoding has {encoding.channels}.")

    def serving_default(self, images, noise):
        features, mean, stddev = self._trunk(images)
        latents = mean[:, None] + stddev[:, None] * noise  # [B, M, N]
        logits = self.combiner_layer.combine(features, latents)
        return {
            "segmentations": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8),
            "probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1),
        }

    def trunk(self, images):
        features, mean, stddev = self._trunk(images)
        return {"features": tf.cast(features, self.feature_dtype), "prior_mean": mean, "prior_stddev": stddev}

    def combiner(self, features, latents):
        return {"logits": self.combiner_layer.combine(tf.cast(features, tf.float32), latents)}

    def encoded(self, image_bytes, noise):
        images = tf.map_fn(self._decode, image_bytes,
                           fn_output_signature=tf.TensorSpec((*self.size, self.channels), tf.float32))
        return self.serving_default(images, noise)

    def endpoints(self) -> dict:
        """By name, the function and its input specification; the first is TensorFlow Serving's default."""
        images = tf.TensorSpec((None, None, None, self.channels), tf.float32, name="images")
        features = tf.TensorSpec((None, None, None, self.feature_channels), self.feature_dtype, name="features")
        noise, latents = (tf.TensorSpec((None, None, self.latent_dim), tf.float32, name=name)
                          for name in ("noise", "latents"))
        # In TensorFlow Serving's JSON, inputs that end in _bytes are base64 texts.
        image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
        found = {
            "serving_default": (self.serving_default, [images, noise]),
            "trunk": (self.trunk, [images]),
            "combiner": (self.combiner, [features, latents]),
            "encoded": (self.encoded, [image_bytes, noise]),
        }
        if self.encoding is None:
            found.pop("encoded")
        return found

    def examples(self) -> dict:
        """Inputs of each signature as numpy arrays, random but always the same: 2 images, 3 samples."""
        rng = np.random.default_rng(0)
        images = rng.random((2, *self.size, self.channels), np.float32)
        noise = rng.standard_normal((2, 3, self.latent_dim), np.float32)
        features = rng.standard_normal((2, *self.size, self.feature_channels), np.float32)
        found = {
            "serving_default": {"images": images, "noise": noise},
            "trunk": {"images": images},
            "combiner": {"features": features.astype(self.feature_dtype.as_numpy_dtype), "latents": noise},
        }
        if self.encoding is not None:
            stored = rng.integers(0, 2**self.encoding.bits, images.shape).astype(self._stored_dtype().as_numpy_dtype)
            pngs = [tf.io.encode_png(image).numpy() for image in stored]
            found["encoded"] = {"image_bytes": np.array(pngs, object), "noise": noise}
        return found

    def decoded(self, image_bytes) -> tf.Tensor:
        """What `encoded` shows the model of PNGs, [B, H, W, C]."""
        return tf.stack([self._decode(image) for image in image_bytes])

    def _trunk(self, images):
        features, mean, stddev = self.model_trunk(images)
        return self.combiner_layer.project_features(features), mean, stddev

    def _stored_dtype(self):
        return tf.uint16 if self.encoding.bits == 16 else tf.uint8

    def _decode(self, png):
        """The middle of a PNG as the model sees it."""
        stored = tf.io.decode_png(png, channels=self.channels, dtype=self._stored_dtype())
        height, width = self.size
        room = tf.shape(stored)[:2] - self.size
        too_small = tf.debugging.assert_non_negative(
            room, f"signature encoded takes images of {height}x{width} or larger, of which it cuts the middle"
        )
        with tf.control_dependencies([too_small] if too_small is not None else []):  # nothing to wait for when eager
            begin = tf.concat([room // 2, [0]], axis=0)
        return self.encoding.to_float(tf.slice(stored, begin, (height, width, self.channels)))
