"""What an experiment describes, made: its model and its optimizer."""

import keras

from tf_probunet.experiment import Experiment
from tf_probunet.models import MODELS, Segmenter
from tf_probunet.optimizers import FusedAdam
from tf_probunet.precision import resolve_precision
from tf_probunet.schedules import WarmUpSchedule


def build_model(experiment: Experiment) -> Segmenter:
    """The model of an experiment, its variables made and initialised from the experiment's seed."""
    keras.utils.set_random_seed(experiment.seed)
    model = new_model(experiment)
    model.build()
    return model


def new_model(experiment: Experiment) -> Segmenter:
    """The model of an experiment, without variables yet."""
    return MODELS[experiment.model](dtype=resolve_precision(experiment.precision), **experiment.model_arguments())


def build_optimizer(experiment: Experiment, scale=1.0) -> keras.optimizers.Optimizer:
    """Adam with the experiment's schedule, all of it times `scale`, its clipping and its moving average."""
    return FusedAdam(
        learning_rate=WarmUpSchedule(
            scale * experiment.learning_rate, experiment.schedule, experiment.steps, experiment.schedule_boundaries,
            [scale * value for value in experiment.schedule_values], experiment.warmup_steps,
        ),
        global_clipnorm=experiment.clipnorm,
        use_ema=experiment.ema_momentum is not None,
        ema_momentum=0.99 if experiment.ema_momentum is None else experiment.ema_momentum,
    )
