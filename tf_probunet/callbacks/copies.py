"""Callbacks for a model that several devices train."""

import keras

from tf_probunet.callbacks.weights import averaged_weights


class OnCopy(keras.callbacks.Callback):
    """Gives callbacks, at the end of an epoch, a copy of the model that knows of one device only.

    A model on several machines sums over them when its metrics are read, so that one of them alone would wait for ever;
    and validation on one device finds the same whatever number of devices trained. The copy has the averaged weights
    where the optimizer keeps averages.

    Args:
        copy: a model as the trained one, made and compiled outside of any strategy.
        callbacks: that look at the model at the end of an epoch.
    """

    def __init__(self, copy, callbacks):
        super().__init__()
        self.copy, self.callbacks = copy, callbacks
        for callback in callbacks:
            callback.set_model(copy)

    def on_epoch_end(self, epoch, logs):
        copy_weights(self.model, self.copy)
        self.copy.optimizer.iterations.assign(int(self.model.optimizer.iterations.numpy()))
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)


def copy_weights(model, copy):
    """The (averaged) weights of a model on several devices, into one on a single device."""
    with averaged_weights(model):
        for weight, value in zip(copy.weights, model.weights, strict=True):
            weight.assign(value.numpy())
