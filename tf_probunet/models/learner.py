"""How every model of this package learns under `fit`: by its own objective, in parts of a batch, on any devices."""

import typing

import keras
import tensorflow as tf

from tf_probunet.models.nonfinite import FirstNonFinite
from tf_probunet.models.replicas import over_replicas, take_summed_gradients


class Rows(typing.NamedTuple):
    """Which images of a global batch are at hand: `count` of `total`, from row `first` on."""

    first: tf.Tensor | int
    count: tf.Tensor | int
    total: tf.Tensor | int


class Learner(keras.Model):
    """A Keras model whose loss is its own: subclasses implement `objective`, and `training_noise` if it is random."""

    loss_terms = ("loss",)  # what `objective` returns and `fit` reports, in training and in validation
    training_terms = ()  # what `objective` returns in training alone

    def make_trackers(self):
        """The running means that `fit` shows; called once, when the model knows its terms."""
        self.trackers = [keras.metrics.Mean(name=name) for name in self.loss_terms]
        self.training_trackers = [keras.metrics.Mean(name=name) for name in (*self.training_terms, "gradient_norm")]
        self.first_nonfinite = FirstNonFinite((*self.loss_terms, "gradient_norm"))

    @property
    def metrics(self):
        return [*self.trackers, *self.training_trackers]  # without Keras's own "loss"

    def objective(self, images, segmentations, noise=None, sample_weight=None, step=None):
        """The loss of a batch and its parts.

        Args:
            images: [B, H, W, C].
            segmentations: [B, H, W] int.
            noise: what `training_noise` gives.
            sample_weight: [B] or None.
            step: of training, a scalar, for what changes in its course; None in validation.
        Returns:
            dict of scalars, one for each of `loss_terms`, in training of `training_terms` too.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement objective().")

    def training_noise(self, images, step, rows=None):
        """Everything random of one training step, a function of (seed, step): a resumed run sees what an unbroken one
        would. `step` is None in validation; `rows` says which images of a global batch these are, None all of it.
        None for models without randomness."""
        return None

    def after_step(self, terms):
        """What follows a training step; `terms` is what `objective` returned."""

    def compile(self, optimizer="adam", *, accumulation_steps=1, jit_compile=False, **kwargs):
        """As `keras.Model.compile`, without a loss argument: the objective is the model's own.

        Args:
            optimizer: as Keras takes it.
            accumulation_steps: parts into which each batch is cut, to be differentiated one after the other: the same
                step to rounding, in the memory of one part.
            jit_compile: XLA. Off unless asked for, because it makes the training step slower on CPUs
                (docs/performance.md). From the same seed XLA draws other random numbers.
            **kwargs: further arguments of `keras.Model.compile`.
        """
        for argument in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"{type(self).__name__} has its own objective and metrics; call compile() without `{argument}`."
                )
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be at least 1. Received: {accumulation_steps}.")
        self.accumulation_steps = accumulation_steps
        self.build()  # training steps call the parts, never the whole, so Keras would not
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            take_summed_gradients(self.optimizer)

    def compile_from_config(self, config):
        """Compiles a loaded model as the saved one was, which Keras leaves to models with a `compile` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)  # so that the saved state finds its variables

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: `compile` has built the model. Keras would read a batch for it and average it over the machines,
        where Keras 3.15 fails (keras issue 20585); `fit` has no public way around it."""

    def make_train_function(self, force=False):
        """As Keras does, after the optimizer has its variables, and for several machines, where Keras fails to average
        what a step returns (the same issue). That is the same on all replicas already, so the first one's is taken."""
        strategy = self.distribute_strategy
        if not self.optimizer.built:
            with strategy.scope():  # not in the step: its graph would be traced twice, and on replicas not at all
                self.optimizer.build(self.trainable_variables)
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return super().make_train_function(force)
        if self.train_function is None or force:

            @tf.function(reduce_retracing=True)
            def train_function(iterator):
                results = strategy.run(self.train_step, args=(next(iterator),))
                return tf.nest.map_structure(lambda result: strategy.experimental_local_results(result)[0], results)

            self.train_function = train_function
        return self.train_function

    def train_step(self, data):
        images, segmentations, sample_weight = self.unpack(data)
        step = tf.cast(self.optimizer.iterations, tf.int32)
        terms, gradients = over_replicas(*self._step_gradients(images, segmentations, sample_weight, step))
        terms["gradient_norm"] = self._gradient_norm(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.after_step(terms)
        self.first_nonfinite.note(self._checked(terms), step)
        return self._track(terms, images, [*self.trackers, *self.training_trackers])

    def test_step(self, data):
        images, segmentations, sample_weight = self.unpack(data)
        noise = self.training_noise(images, None, _rows(tf.shape(images)[0]))
        terms = self.objective(images, segmentations, noise, sample_weight)
        return self._track(terms, images, self.trackers)

    def loss_and_gradients(self, images, segmentations, noise, sample_weight, step):
        """What `objective` returns, and the gradient of its loss for each of `trainable_weights`."""
        with tf.GradientTape() as tape:
            terms = self.objective(images, segmentations, noise, sample_weight, step)
            scaled_loss = self.scale_loss(terms["loss"])
        return terms, tape.gradient(scaled_loss, self.trainable_weights)

    def scale_loss(self, loss):
        """The loss as the optimizer wants it differentiated."""
        # Gradients are summed over replicas; the loss is a mean over the whole batch.
        return self.optimizer.scale_loss(loss / tf.distribute.get_strategy().num_replicas_in_sync)

    def unpack(self, data):
        """Images, segmentations and weights or None of what `fit` hands over, checked."""
        raise NotImplementedError(f"{type(self).__name__} must implement unpack().")

    def _step_gradients(self, images, segmentations, sample_weight, step):
        """`loss_and_gradients` of a whole batch, as mean over its images part by part."""
        batch_size, parts = tf.shape(images)[0], self.accumulation_steps
        rows = _rows(batch_size)
        if parts == 1:
            noise = self.training_noise(images, step, rows)
            return self.loss_and_gradients(images, segmentations, noise, sample_weight, step)
        parts = tf.minimum(parts, batch_size)

        def of_part(index):
            first, end = index * batch_size // parts, (index + 1) * batch_size // parts
            weights = None if sample_weight is None else sample_weight[first:end]
            noise = self.training_noise(images[first:end], step, Rows(rows.first + first, end - first, rows.total))
            terms, gradients = self.loss_and_gradients(images[first:end], segmentations[first:end], noise, weights,
                                                       step)
            share = tf.cast(end - first, tf.float32) / tf.cast(batch_size, tf.float32)
            return tf.nest.map_structure(lambda value: value * tf.cast(share, value.dtype),
                                         (terms, [tf.convert_to_tensor(gradient) for gradient in gradients]))

        def add_part(index, total):
            return index + 1, tf.nest.map_structure(tf.add, total, of_part(index))

        # The first part outside of the loop says what there is to add up.
        _, total = tf.while_loop(lambda index, _: index < parts, add_part, (1, of_part(0)), parallel_iterations=1)
        return total

    def _gradient_norm(self, gradients):
        scale = getattr(self.optimizer, "dynamic_scale", None)  # of a LossScaleOptimizer, mixed_float16
        scale = 1.0 if scale is None else tf.cast(scale, tf.float32)
        return tf.linalg.global_norm(gradients) / scale

    def _checked(self, terms):
        """Those terms that must be finite: a LossScaleOptimizer overflows its gradients by intention."""
        scaled = hasattr(self.optimizer, "dynamic_scale")
        return {name: terms[name] for name in self.first_nonfinite.terms if not (scaled and name == "gradient_norm")}

    def _track(self, terms, images, trackers):
        for tracker in trackers:
            tracker.update_state(terms[tracker.name], sample_weight=tf.shape(images)[0])
        return {tracker.name: tracker.result() for tracker in trackers}


def _rows(batch_size):
    """Where this replica's images are in the batch of all replicas."""
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas == 1:
        return Rows(0, batch_size, batch_size)
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return Rows(replica * batch_size, batch_size, num_replicas * batch_size)


def weighted_mean(values, sample_weight=None):
    """Mean over the batch of [B] values, each times its weight where there are weights."""
    return tf.reduce_mean(values if sample_weight is None else values * sample_weight)
