"""Pictures of a run, drawn so seldom that training hardly waits for them."""

import time

import keras

LARGEST_SHARE = 0.05  # of a run's time
FIRST_GUESS = 1.0  # seconds that a picture takes


class Drawing(keras.callbacks.Callback):
    """Draws after an epoch: if all drawings together take at most a twentieth of the time so, and after the last.

    Subclasses have `draw(epoch, logs)`.

    Args:
        num_epochs: of the run; the last of them is always drawn.
        clock: gives seconds.
    """

    def __init__(self, num_epochs, clock=time.monotonic):
        super().__init__()
        self.num_epochs, self.clock = num_epochs, clock
        self._drawn_until, self._cost = clock(), FIRST_GUESS

    def on_epoch_end(self, epoch, logs):
        start = self.clock()
        share = self._cost / (start - self._drawn_until + self._cost)  # if drawn now
        if share > LARGEST_SHARE and epoch + 1 < self.num_epochs:
            return
        self.draw(epoch, logs)
        self._drawn_until = self.clock()
        self._cost = self._drawn_until - start
