"""What a run tells while it goes on: lines of text, curves, and where it ends."""

import time

import keras

from tf_probunet.callbacks.drawing import Drawing


class LastStep(keras.callbacks.Callback):
    """Ends training at a step, within an epoch where the epochs do not divide the run.

    Args:
        total_steps: of the run.
        first_step: where this process starts.
    """

    def __init__(self, total_steps, first_step=0):
        super().__init__()
        self.total, self.step = total_steps, first_step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.model.stop_training = self.step >= self.total


class Progress(keras.callbacks.Callback):
    """A line now and then: step, losses, seconds a step, time left.

    Args:
        total_steps: of the run.
        first_step: where this process starts.
        report: called with the line.
        interval: seconds between lines.
    """

    def __init__(self, total_steps, first_step, report=print, interval=20.0):
        super().__init__()
        self.total, self.first, self.step = total_steps, first_step, first_step
        self.report, self.interval = report, interval
        self._start = self._last = None

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        now = time.monotonic()
        if self._start is None:  # the first step holds the compilation
            self._start, self._last, self.first = now, now, self.step
            return
        if now - self._last < self.interval:
            return
        self._last = now
        seconds = (now - self._start) / (self.step - self.first)
        values = "  ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
        left = (self.total - self.step) * seconds
        self.report(
            f"step {self.step}/{self.total} ({100 * self.step // self.total} %)  {values}  {seconds:.2f} s a step, "
            f"{_duration(left)} left"
        )


def _duration(seconds):
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


class ReportEpoch(keras.callbacks.Callback):
    """Says after each epoch what validation found."""

    def __init__(self, report=print):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch, logs):
        def losses(prefix):
            kl = f", KL {logs[f'{prefix}kl']:.3g}" if f"{prefix}kl" in logs else ""  # of models with a latent space
            return f"cross-entropy {logs[f'{prefix}cross_entropy']:.4g}{kl}"

        self.report(
            f"epoch {epoch + 1}: {losses('')}; validation {losses('val_')}, energy distance "
            f"{logs['val_energy_distance']:.4f}, sample diversity {logs['val_sample_diversity']:.3f}"
        )


class ProgressPlot(Drawing):
    """Draws `progress.png`, where matplotlib is installed.

    Args:
        path: PNG to write.
        history: the `History` to draw.
        num_epochs: of the run.
    """

    def __init__(self, path, history, num_epochs):
        super().__init__(num_epochs)
        self.path, self.history = path, history

    def draw(self, epoch, logs):
        from tf_probunet import plots

        if plots.is_available():
            plots.progress(self.history.rows, self.path)
