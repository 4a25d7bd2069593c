"""Adam as Keras has it, in one pass over the weights instead of many."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_probunet")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` whose update is TensorFlow's fused kernel; arguments, state and results are the same.

    Keras writes the update as many operations on each weight, each of which reads and writes all of it: slow on a
    processor, whose memory is (docs/performance.md). With `amsgrad` it is Keras's own; so is the moving
    average under a distribution strategy.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        place = self._get_variable_index(variable)
        return tf.raw_ops.ResourceApplyAdam(
            var=_resource(variable), m=_resource(self._momentums[place]), v=_resource(self._velocities[place]),
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype), beta1=tf.cast(self.beta_1, dtype), beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype), grad=tf.cast(gradient, dtype), use_locking=True,
        )

    def _update_model_variables_moving_average(self, trainable_variables):
        if not self.use_ema or tf.distribute.has_strategy():
            return super()._update_model_variables_moving_average(trainable_variables)
        momentum = tf.where(self.iterations > 0, self.ema_momentum, 0.0)  # the average starts at the first weights
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                difference = tf.convert_to_tensor(average) - tf.convert_to_tensor(variable)
                tf.raw_ops.ResourceApplyGradientDescent(var=_resource(average), delta=difference, use_locking=True,
                                                        alpha=tf.cast(1 - momentum, difference.dtype))
        return None


def _resource(variable):
    return (variable if isinstance(variable, tf.Variable) else variable.value).handle
