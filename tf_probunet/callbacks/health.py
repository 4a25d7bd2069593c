"""What goes wrong in training, seen early and said in words."""

import keras


class NonFiniteLoss(FloatingPointError):
    """A loss or gradient that is NaN or infinite; `term` says which, `step` when it first was."""

    def __init__(self, message, term, step):
        super().__init__(message)
        self.term, self.step = term, step


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops when a loss or the gradient is NaN or infinite, with weights as they last were good.

    Args:
        run: folder of the run, for the message.
        restore: called without arguments; brings the last good weights back and returns their step.
        interval: batches between looks. What was not finite stays noted in the model until the epoch ends.
        retries: how often the run went back so far.
    """

    def __init__(self, run, restore, interval=50, retries=0):
        super().__init__()
        self.run, self.restore, self.interval, self.retries = run, restore, interval, retries

    def on_train_begin(self, logs=None):
        self.model.first_nonfinite.reset()

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.interval == 0:
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        found = self.model.first_nonfinite.found()
        if found is None:
            return
        term, step = found
        good = self.restore()
        term = {"gradient_norm": "the gradient"}.get(term, term)
        raise NonFiniteLoss(
            f"Training stopped: {term} was NaN or infinite at step {step}, before any other term. The weights of step "
            f"{good} are restored and all that {self.run} keeps is from before. Remedies: go on from there at half the "
            f"learning rate with --resume --nonfinite_retries {self.retries + 1}; or start anew with "
            "--log_sigma_clip 10, --clipnorm 1000, a lower --learning_rate, or more --warmup_steps.",
            term, step,
        )


class WarnOfCollapse(keras.callbacks.Callback):
    """Warns in words when samples stop differing, once for each kind of trouble until it has passed.

    Reads what `Validation` adds to the logs. Not before `first_epoch` epochs were seen, since a model that has learned
    nothing yet draws alike samples too.

    Args:
        report: called with lines of text.
        first_epoch: epochs without warnings.
    """

    LEAST_KL = 0.05  # nats
    LEAST_DIVERSITY = 0.1  # of the graders'
    MOST_NESTED = 0.98

    def __init__(self, report=print, first_epoch=2):
        super().__init__()
        self.report, self.first_epoch = report, first_epoch
        self._told = set()

    def on_epoch_end(self, epoch, logs):
        troubles = self.troubles(logs) if epoch >= self.first_epoch else {}
        for name, words in troubles.items():
            if name not in self._told:
                self.report(f"Warning: {words}")
        self._told = set(troubles)

    def troubles(self, logs) -> dict[str, str]:
        """What the logs of one epoch give reason to warn of: sentences by name."""
        found = {}
        diversity, graders = logs["val_sample_diversity"], logs["val_grader_diversity"]
        if "val_kl" in logs and logs["val_kl"] < self.LEAST_KL:
            found["kl"] = (
                f"posterior collapse. The KL on validation images is {logs['val_kl']:.3g} nats and "
                f"{logs['val_active_latents']} latents are active: samples ignore the latent. Try "
                "--beta_warmup_steps, a lower --beta, or --warmup_steps; check that --image_mean and --image_stddev "
                "bring images to mean 0 and stddev 1."
            )
        elif "val_kl" in logs and diversity < self.LEAST_DIVERSITY * graders:
            found["diversity"] = (
                f"samples hardly differ: E d(S,S') is {diversity:.3g}, the graders' E d(Y,Y') {graders:.3g}, although "
                f"the KL is {logs['val_kl']:.3g} nats. What the posterior says does not reach the prior: train longer, "
                "or see whether the prior's stddev is small (val_prior_stddev in history.csv)."
            )
        nested = logs["val_nested_pairs"]
        if "val_kl" in logs and nested > self.MOST_NESTED:
            found["nested"] = (
                f"{100 * nested:.0f} % of differing sample pairs lie one inside the other: the latent moves one "
                "threshold. Hypotheses of different shape need --combiner_channels with at least two layers, more "
                "--latent_dim, or more training."
            )
        return found
