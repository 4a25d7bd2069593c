"""Trains an experiment through `model.fit` into a run folder that survives a kill."""

import contextlib
import math
import os
from pathlib import Path

import keras

from tf_probunet import callbacks
from tf_probunet.build import build_model, build_optimizer, new_model
from tf_probunet.checkpoints import Checkpoints
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage, training_dataset
from tf_probunet.devices import find_devices
from tf_probunet.experiment import Experiment
from tf_probunet.models.segmenter import check_size
from tf_probunet.run_folder import (
    BEST_WEIGHTS,
    CHECKPOINTS,
    LAST_WEIGHTS,
    fingerprint,
    note_retry,
    noted_retries,
    open_run,
    settled,
    training_in,
)
from tf_probunet.staging import disk_errors

ALL_THE_SAME = (
    "The processes of this training do not agree on what to train, or see different run folders. All need the same "
    "command, the same dataset and one folder that they share. Received --run {run}."
)
RETRY_RATE = 0.5  # of the learning rate, after each return to a checkpoint because of a loss that was not finite


def train(experiment: Experiment, data: DatasetInfo, run: str | os.PathLike, *, resume=False, devices=None,
          report=print):
    """Trains a model; everything that it makes is in the run folder.

    An ensemble's members are trained one after the other, or by several processes (`tf_probunet.ensemble_training`).

    Args:
        experiment: what to train.
        data: dataset with splits "train" and "val".
        run: folder to make; with `resume`, the folder of a run that was stopped, which goes on from its last epoch.
        resume: go on instead of starting; "if_started": start where there is nothing to go on with.
        devices: as `tf_probunet.devices.find_devices` takes them. They share every batch and change nothing of the
            result but its rounding; a run may go on on others.
        report: called with lines of text for the user.
    Returns:
        the model, with the best weights by energy distance on the validation images. It is one for a single device and,
        where several trained it, without their optimizer's state.
    Raises:
        FileExistsError: the run folder is there and `resume` is off.
        BlockingIOError: another process trains in that folder.
        ValueError: the experiment does not fit the data or the devices, or differs from the run's.
        FloatingPointError: the loss became NaN or infinite.
        ConnectionError: another process of this training is gone.
    """
    devices = find_devices(devices, report)
    report = devices.reporter(report)
    if experiment.model == "unet_ensemble":
        from tf_probunet.ensemble_training import train_members  # here, because it trains each member by this function

        with devices.explain_loss():
            return train_members(experiment, data, run, resume=resume, devices=devices, report=report)
    data = data.with_window(experiment.window)
    check_data(experiment, data)
    devices.check_batches(experiment)
    with devices.explain_loss(), contextlib.ExitStack() as held:
        run = Path(run)
        devices.from_chief(lambda: held.enter_context(training_in(run)))
        return _train(experiment, data, run, resume, devices, report)


def _train(experiment, data, run, resume, devices, report):
    """Trains, as often as a loss that is not finite may be met."""
    # After the checks: a refused experiment leaves no folder.
    resume = devices.from_chief(lambda: open_run(settled(experiment, run), data, run, resume))
    experiment = settled(experiment, run)  # as the chief did
    retries = noted_retries(run)
    devices.check_same(fingerprint(experiment, data, run), ALL_THE_SAME.format(run=run))
    while True:
        try:
            return _train_from_checkpoint(experiment, data, run, resume, devices, len(retries), report)
        except callbacks.NonFiniteLoss as error:
            retries = note_retry(experiment, run, retries, error, write=devices.chief)
            report(f"{error.term} was NaN or infinite at step {error.step}. Retry {len(retries)} of "
                   f"{experiment.nonfinite_retries}: from the last checkpoint, at {RETRY_RATE ** len(retries):g} times "
                   "the learning rate.")


def _train_from_checkpoint(experiment, data, run, resume, devices, retries, report):
    """Trains from the newest checkpoint that is whole, or from the first step, to the end."""
    with devices.scope():
        model = build_model(experiment)
        model.compile(build_optimizer(experiment, RETRY_RATE**retries),
                      accumulation_steps=experiment.accumulation_steps)
        model.optimizer.build(model.trainable_variables)
    plain = model  # what is validated, saved and returned
    if devices.strategy is not None:
        plain = build_model(experiment)
        plain.compile("sgd")  # it never learns: this keeps no more than the number of steps
    checkpoints = Checkpoints(run / CHECKPOINTS, devices.chief, model=model, optimizer=model.optimizer)
    step = checkpoints.restore(report)
    devices.check_same(step, ALL_THE_SAME.format(run=run))
    if devices.from_chief(lambda: step >= experiment.steps and (run / LAST_WEIGHTS).is_file()):
        report(f"{run} is finished: {step} of {experiment.steps} steps. Nothing to do.")
        return _with_best_weights(plain, run)
    if devices.from_chief(lambda: not checkpoints.steps()):
        with _disk_errors(run):
            checkpoints.save(0)  # what to return to if the first epoch fails
    first_epoch = math.ceil(step / experiment.steps_per_epoch)  # a checkpoint ends an epoch; the last may be short
    if resume:
        report(f"Resuming {run} at step {step} of {experiment.steps}.")
    report(
        f"{experiment.name}: {model.count_params():,} parameters, {data.num_images('train'):,} training images, "
        f"batches of {_crops_in_words(experiment)}, {experiment.steps} steps, {experiment.precision}{devices.words()}."
    )

    def batches(part, pieces):
        return training_dataset(data, "train", experiment.batch_size, crop_size=experiment.crop_size,
                                crop_scales=experiment.crop_scales, augmentation=experiment.augmentation,
                                seed=experiment.seed, start_step=step, part=part, pieces=pieces)

    with explain_damage(data), _disk_errors(run):
        model.fit(
            devices.distribute(batches),
            initial_epoch=first_epoch,
            epochs=experiment.num_epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            shuffle=False,  # the pipeline has shuffled
            verbose=0,
            callbacks=[
                callbacks.StopOnNonFinite(run, lambda: checkpoints.restore(report), retries=retries),
                callbacks.LastStep(experiment.steps, step),
                *(_reports(experiment, model, plain, data, run, step, report) if devices.chief else ()),
                # Last: what it saves is a whole epoch.
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda *_: checkpoints.save(int(model.optimizer.iterations.numpy()))),
            ],
        )
        devices.from_chief(lambda: _save_last(model, plain, run))
    return _with_best_weights(plain, run)


def _disk_errors(run):
    return disk_errors(run, left="Its last checkpoint is kept",
                       remedy="free some space and go on by the same command with --resume")


def _crops_in_words(experiment):
    sizes = dict.fromkeys(experiment.crops)  # a size that is drawn more often is told once
    return " or ".join(f"{count} crops of {height}x{width}" for (height, width), count in sizes)


def _reports(experiment, model, plain, data, run, first_step, report):
    """What measures, records and tells; of several processes the chief's alone."""
    history = callbacks.History(run / "history.csv", math.ceil(first_step / experiment.steps_per_epoch))
    validation = evaluation_dataset(data, "val", experiment.batch_size, crop_size=experiment.crop_size,
                                    limit=experiment.validation_images, cache=True)
    looks = [
        callbacks.Validation(validation, experiment.validation_samples, experiment.seed, data.scored_classes),
        callbacks.BestWeights(run / BEST_WEIGHTS, history.best("val_energy_distance")),
        callbacks.Wall(validation, run / "wall.png", run / "tensorboard" / "wall", experiment.seed,
                       experiment.num_epochs, experiment.validation_samples),
    ]
    return [
        callbacks.Progress(experiment.steps, first_step, report),
        *(looks if plain is model else [callbacks.OnCopy(plain, looks)]),
        history,
        callbacks.ReportEpoch(report),
        callbacks.WarnOfCollapse(report),
        callbacks.ProgressPlot(run / "progress.png", history, experiment.num_epochs),
        keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False),
    ]


def _save_last(model, plain, run):
    if plain is not model:
        callbacks.copy_weights(model, plain)
    with callbacks.averaged_weights(plain):  # as `fit` leaves them, or after a kill right before this line
        callbacks.save_weights(plain, run / LAST_WEIGHTS)


def _with_best_weights(model, run):
    with callbacks.without_optimizer(model):
        model.load_weights(run / BEST_WEIGHTS)
    return model


def check_data(experiment, data):
    """Raises a `ValueError` unless the experiment can be built and fits the dataset."""
    model = new_model(experiment)
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
    # A pipeline that can be made has the split, and images no smaller than the crop.
    evaluation_dataset(data, "val", experiment.batch_size, crop_size=experiment.crop_size)
    for scale, (size, count) in zip(experiment.crop_scales, experiment.crops, strict=True):
        try:
            check_size(*size, model.size_multiple)
            evaluation_dataset(data, "train", count, crop_size=size)
        except ValueError as error:
            if scale == 1:
                raise
            raise ValueError(f"Of crop_scales, {scale:g} does not fit; --crop_scales 1 leaves crops as they are. "
                             f"{error}") from error
