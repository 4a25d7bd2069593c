"""The energy distance as a Keras metric, for training loops of your own; not imported by `tf_probunet.metrics`."""

import keras
import numpy as np
import tensorflow as tf

from tf_probunet.metrics.energy_distance import energy_distance


@keras.saving.register_keras_serializable(package="tf_probunet")
class EnergyDistanceMetric(keras.metrics.Metric):
    """Mean squared generalised energy distance over all images seen since the last reset.

    It computes what `tf_probunet.metrics.energy_distance` does, within a `tf.function` too, on the CPU.

    Args:
        num_classes: K, background included.
        classes: the classes under test; None stands for the foreground, 1 to K - 1.
        ignore_label: class map value of pixels that count nothing, or None.
        name, dtype: as of any Keras metric.

    Example:
        >>> import numpy as np
        >>> metric = EnergyDistanceMetric(num_classes=2)
        >>> lesion, nothing = [[0, 1], [0, 1]], [[0, 0], [0, 0]]
        >>> metric.update_state(np.array([[lesion, nothing]]), np.array([[lesion]]))
        >>> float(metric.result())
        0.5
    """

    def __init__(self, num_classes, classes=None, ignore_label=255, name="energy_distance", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.classes = None if classes is None else tuple(classes)
        self.ignore_label = ignore_label
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None, grader_weights=None):
        """Adds the images of a batch.

        Args:
            y_true: graders, [B, R, H, W] integer class maps.
            y_pred: samples, [B, M, H, W] integer class maps, or logits [B, M, H, W, K].
            sample_weight: [B] weight of each image; None: all alike.
            grader_weights: [B, R] probability of each grader; None: all alike, but for graders whose every pixel is
                ignored, which are padding.
        """
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if y_pred.shape.rank == 5:
            y_pred = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        inputs = [y_true, y_pred] if grader_weights is None else [y_true, y_pred, grader_weights]
        distances = tf.numpy_function(self._distances, inputs, tf.float32, stateful=False)
        distances.set_shape(y_true.shape[:1])
        weights = tf.ones_like(distances) if sample_weight is None else tf.cast(sample_weight, tf.float32)
        self.total.assign_add(tf.cast(tf.reduce_sum(distances * weights), self.dtype))
        self.count.assign_add(tf.cast(tf.reduce_sum(weights), self.dtype))

    def _distances(self, graders, samples, weights=None):
        if weights is None and self.ignore_label is not None:
            real = (graders != self.ignore_label).any(axis=(2, 3))
            real |= ~real.any(axis=1, keepdims=True)  # an image that nobody labelled has no padding to tell from it
            weights = real / real.sum(axis=1, keepdims=True)
        result = energy_distance(samples, graders, self.num_classes, self.classes, self.ignore_label,
                                 grader_weights=weights)
        return result.energy_distance.astype(np.float32)

    def result(self):
        """The mean, a scalar; 0 before any image."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.count))

    def get_config(self):
        return {"num_classes": self.num_classes, "classes": self.classes, "ignore_label": self.ignore_label,
                "name": self.name, "dtype": self.dtype}
