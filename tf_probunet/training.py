"""Trains an experiment through `model.fit` into a run folder that survives a kill."""

import math
import os
from pathlib import Path

import keras

from tf_probunet import callbacks
from tf_probunet.build import build_model, build_optimizer
from tf_probunet.checkpoints import Checkpoints
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage, training_dataset
from tf_probunet.experiment import Experiment
from tf_probunet.models.segmenter import check_size
from tf_probunet.run_folder import BEST_WEIGHTS, CHECKPOINTS, LAST_WEIGHTS, noted_retries, note_retry, open_run, settled
from tf_probunet.staging import disk_errors

RETRY_RATE = 0.5  # of the learning rate, after each return to a checkpoint because of a loss that was not finite


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
    experiment = settled(experiment, run)
    model = build_model(experiment)
    check_data(experiment, model, data)
    open_run(experiment, data, run, resume)  # after the checks: a refused experiment leaves no folder
    while True:
        try:
            return _train_from_checkpoint(experiment, model, data, run, resume, report)
        except callbacks.NonFiniteLoss as error:
            retries = note_retry(experiment, run, error)
            report(f"{error.term} was NaN or infinite at step {error.step}. Retry {len(retries)} of "
                   f"{experiment.nonfinite_retries}: from the last checkpoint, at {RETRY_RATE ** len(retries):g} times "
                   "the learning rate.")
            model = build_model(experiment)


def _train_from_checkpoint(experiment, model, data, run, resume, report):
    """Trains from the newest checkpoint that is whole, or from the first step, to the end."""
    model.compile(build_optimizer(experiment, RETRY_RATE ** len(noted_retries(run))),
                  accumulation_steps=experiment.accumulation_steps)
    model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(run / CHECKPOINTS, model=model, optimizer=model.optimizer)
    step = checkpoints.restore(report)
    if step >= experiment.steps and (run / LAST_WEIGHTS).is_file():
        report(f"{run} is finished: {step} of {experiment.steps} steps. Nothing to do.")
        return _with_best_weights(model, run)
    if not checkpoints.steps():
        with disk_errors(run):
            checkpoints.save(0)  # what to return to if the first epoch fails
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
                callbacks.StopOnNonFinite(run, lambda: checkpoints.restore(report)),
                callbacks.LastStep(experiment.steps, step),
                callbacks.Progress(experiment.steps, step, report),
                callbacks.Validation(validation, experiment.validation_samples, experiment.seed, data.scored_classes),
                callbacks.BestWeights(run / BEST_WEIGHTS, history.best("val_energy_distance")),
                history,
                callbacks.ReportEpoch(report),
                callbacks.WarnOfCollapse(report),
                callbacks.ProgressPlot(run / "progress.png", history),
                callbacks.Wall(validation, run / "wall.png", run / "tensorboard" / "wall", experiment.seed,
                               experiment.validation_samples),
                keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False),
                # Last: what it saves is a whole epoch.
                keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: checkpoints.save(int(model.optimizer.iterations))),
            ],
        )
        with callbacks.averaged_weights(model):  # as `fit` leaves them, or after a kill right before this line
            callbacks.save_weights(model, run / LAST_WEIGHTS)
    return _with_best_weights(model, run)


def _with_best_weights(model, run):
    with callbacks.without_optimizer(model):
        model.load_weights(run / BEST_WEIGHTS)
    return model


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
