"""Trains an experiment through `model.fit` into a run folder that survives a kill."""

import json
import math
import os
from pathlib import Path

import keras
import tensorflow as tf

from tf_probunet import callbacks
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage, training_dataset
from tf_probunet.experiment import FILE_NAME, Experiment
from tf_probunet.models import MODELS, Segmenter
from tf_probunet.models.segmenter import check_size
from tf_probunet.schedules import WarmUpSchedule
from tf_probunet.staging import disk_errors, replace_file

BEST_WEIGHTS = "best.weights.h5"
LAST_WEIGHTS = "last.weights.h5"
CHECKPOINTS = "checkpoints"
DATA_FACTS = "data.json"


def build_model(experiment: Experiment) -> Segmenter:
    """The model of an experiment, its variables made and initialised from the experiment's seed."""
    keras.utils.set_random_seed(experiment.seed)
    model = MODELS[experiment.model](dtype=experiment.precision, **experiment.model_arguments())
    model.build()
    return model


def build_optimizer(experiment: Experiment) -> keras.optimizers.Optimizer:
    """Adam with the experiment's schedule, clipping and moving average."""
    return keras.optimizers.Adam(
        learning_rate=WarmUpSchedule(
            experiment.learning_rate, experiment.schedule, experiment.steps, experiment.schedule_boundaries,
            experiment.schedule_values, experiment.warmup_steps,
        ),
        global_clipnorm=experiment.clipnorm,
        use_ema=experiment.ema_momentum is not None,
        ema_momentum=experiment.ema_momentum or 0.99,
    )


def train(experiment: Experiment, data: DatasetInfo, run: str | os.PathLike, *, resume=False, report=print):
    """Trains a model; everything that it makes is in the run folder.

    The members of an ensemble are trained one after the other (`tf_probunet.ensemble_training`).

    Args:
        experiment: what to train.
        data: dataset with splits "train" and "val".
        run: folder to make; with `resume`, the folder of a run that was stopped, which goes on from its last epoch.
        resume: go on instead of starting.
        report: called with lines of text for the user.
    Returns:
        the model, with the best weights by energy distance on the validation images.
    Raises:
        FileExistsError: the run folder is there and `resume` is off.
        ValueError: the experiment does not fit the data, or differs from the run's.
        FloatingPointError: the loss became NaN or infinite.
    """
    if experiment.model == "unet_ensemble":
        from tf_probunet.ensemble_training import train_members  # here, because it trains each member by this function

        return train_members(experiment, data, run, resume=resume, report=report)
    run = Path(run)
    data = data.with_window(experiment.window)
    model = build_model(experiment)
    check_data(experiment, model, data)
    open_run(experiment, data, run, resume)  # after the checks: a refused experiment leaves no folder
    model.compile(build_optimizer(experiment))
    model.optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(run / CHECKPOINTS), max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    step = int(model.optimizer.iterations)
    first_epoch = math.ceil(step / experiment.steps_per_epoch)  # a checkpoint ends an epoch; the last may be short
    history = callbacks.History(run / "history.csv", first_epoch)
    if resume:
        report(f"Resuming {run} at step {step} of {experiment.steps}.")
    report(
        f"{experiment.name}: {model.count_params():,} parameters, {data.num_images('train'):,} training images, "
        f"crops {experiment.crop_size[0]}x{experiment.crop_size[1]}, batch {experiment.batch_size}, "
        f"{experiment.steps} steps, {experiment.precision}."
    )
    validation = evaluation_dataset(data, "val", experiment.batch_size, crop_size=experiment.crop_size,
                                    limit=experiment.validation_images, cache=True)
    steps = training_dataset(data, "train", experiment.batch_size, crop_size=experiment.crop_size,
                             augmentation=experiment.augmentation, seed=experiment.seed, start_step=step)
    with explain_damage(data), disk_errors(run):
        model.fit(
            steps,
            initial_epoch=first_epoch,
            epochs=experiment.num_epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            shuffle=False,  # the pipeline has shuffled
            verbose=0,
            callbacks=[
                callbacks.StopOnNonFinite(run),
                callbacks.LastStep(experiment.steps, step),
                callbacks.Progress(experiment.steps, step, report),
                callbacks.Validation(validation, experiment.validation_samples, experiment.seed, data.scored_classes),
                callbacks.BestWeights(run / BEST_WEIGHTS, history.best("val_energy_distance")),
                history,
                callbacks.ReportEpoch(report),
                callbacks.ProgressPlot(run / "progress.png", history),
                keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False),
                callbacks.Checkpoints(manager),  # last: what it saves is a whole epoch
            ],
        )
        with callbacks.averaged_weights(model):  # as `fit` leaves them, or after a kill right before this line
            callbacks.save_weights(model, run / LAST_WEIGHTS)
    with callbacks.without_optimizer(model):
        model.load_weights(run / BEST_WEIGHTS)
    return model


def load_run(run: str | os.PathLike, weights=BEST_WEIGHTS, precision=None) -> tuple[Experiment, Segmenter]:
    """The experiment of a run and its model with the best weights so far.

    Args:
        run: folder that `train` made.
        weights: name of the weights file in it.
        precision: of the model; the experiment's if not given.
    Raises:
        OSError: no such run, or it has no weights yet.
    """
    run = Path(run)
    experiment = Experiment.load(run)
    path = run / weights
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no {weights} yet: no epoch was finished, or not every member. Let the training go on: --resume.")
    model = build_model(experiment.replace(precision=precision or experiment.precision))
    model.load_weights(path)
    return experiment, model


def check_data(experiment, model, data):
    """Raises a `ValueError` unless the experiment and its model fit the dataset."""
    for field, found in (("num_classes", data.num_classes), ("image_channels", data.image.channels)):
        if getattr(experiment, field) != found:
            raise ValueError(
                f"The experiment has {field} {getattr(experiment, field)}, the dataset {data.folder} has {found}. "
                f"Set --{field} {found} or choose another preset."
            )
    if data.ignore_label != model.ignore_label:
        raise ValueError(
            f"The dataset {data.folder} marks unlabelled pixels with {data.ignore_label}, the model expects "
            f"{model.ignore_label}. Prepare the dataset again with that ignore label."
        )
    check_size(*experiment.crop_size, model.size_multiple)
    for split in ("train", "val"):  # a pipeline that can be made has the split, and images no smaller than the crop
        evaluation_dataset(data, split, experiment.batch_size, crop_size=experiment.crop_size)


def open_run(experiment, data, run, resume):
    """Makes the run folder, or checks the one that is there to be resumed."""
    started = (run / FILE_NAME).is_file()
    if resume and not started:
        raise FileNotFoundError(f"Nothing to resume: {run} has no {FILE_NAME}. Start without --resume.")
    if resume:
        differences = Experiment.load(run).differences(experiment)
        if differences:
            raise ValueError(f"{run} was started with another experiment. It differs in {'; '.join(differences)}.")
        _check_same_data(data, run)
    elif run.exists() and any(run.iterdir()):
        raise FileExistsError(f"{run} already exists. Use --resume to go on with it, or choose another --run.")
    else:
        run.mkdir(parents=True, exist_ok=True)
        with replace_file(run / DATA_FACTS) as file:
            json.dump(data.facts(), file, indent=1)
        experiment.save(run)  # last: a run exists once this file does


def _check_same_data(data, run):
    before = json.loads((run / DATA_FACTS).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(data.facts()))  # tuples to lists, as in the file
    changed = [name for name in {**before, **now} if now.get(name) != before.get(name)]
    if changed:
        raise ValueError(
            f"{run} was started with another dataset than {data.folder}. It differs in {', '.join(changed)}. Give the "
            "dataset that it was started with, or start a new run."
        )
