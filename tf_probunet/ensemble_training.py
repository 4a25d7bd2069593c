"""Trains the members of an ensemble, each as a run of its own, and puts them together.

One process trains them one after the other. Several, of the same experiment and run folder, share them: each takes the
next member that no other is training, and when all are there, each returns the whole ensemble.
"""

import gc
import os
from pathlib import Path

from tf_probunet import callbacks
from tf_probunet.build import build_model
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.devices import find_devices
from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import BEST_WEIGHTS, IF_STARTED, LAST_WEIGHTS, open_run, settled, share, training_in
from tf_probunet.staging import disk_errors
from tf_probunet.training import check_data, train


def member_experiment(experiment: Experiment, index: int) -> Experiment:
    """What member `index` is trained as: a plain U-Net with a seed of its own, for weights, data order and graders.

    Ensembles of as many members and different seeds share none.
    """
    return experiment.replace(
        model="deterministic_unet", name=f"{experiment.name}, member {index + 1} of {experiment.num_members}",
        seed=(experiment.seed * experiment.num_members + index) % 2**32,
        validation_samples=1,  # they are all alike
    )


def member_folder(run: str | os.PathLike, index: int) -> Path:
    """Where member `index` of an ensemble's run is trained."""
    return Path(run) / f"member_{index:02d}"


def train_members(experiment: Experiment, data: DatasetInfo, run: str | os.PathLike, *, resume=False, devices=None,
                  report=print):
    """As `tf_probunet.training.train`, for an ensemble: compute is that of `num_members` plain U-Nets, memory of one.

    Members that are whole are passed over, the one that was stopped goes on from its last epoch. The ensemble's own
    weights and its `history.csv`, of one row, appear when all members are there: best weights are those of the members,
    each chosen on the validation images by its own energy distance.

    Returns:
        the `UNetEnsemble`, with its members' best weights.
    Raises:
        as `train`.
    """
    run, devices = Path(run), find_devices(devices, report)
    report = devices.reporter(report)
    data = data.with_window(experiment.window)
    check_data(experiment, data)
    devices.check_batches(experiment)  # before there is a folder

    def begin():
        with training_in(run, wait=True):  # another process may be putting the ensemble together
            return open_run(settled(experiment, run), data, run, resume)

    devices.from_chief(begin)
    experiment = settled(experiment, run)
    member = build_model(member_experiment(experiment, 0))
    report(f"{experiment.name}: {experiment.num_members} members of {member.count_params():,} parameters, trained one "
           f"after the other for {experiment.steps} steps each.")
    share(
        range(experiment.num_members),
        lambda index: _train_member(experiment, index, data, run, devices, report),
        lambda index: member_folder(run, index),
        lambda index: report(f"Waiting for {_name(experiment, index)}, which another process is training."),
    )
    devices.from_chief(lambda: _assemble(experiment, data, run, report))
    model = build_model(experiment)
    model.compile()
    _load_members(model, run, BEST_WEIGHTS)
    return model


def _name(experiment, index):
    return f"member {index + 1} of {experiment.num_members}"


def _train_member(experiment, index, data, run, devices, report):
    """Trains a member, if it is not whole; False if another process is at it."""
    part, folder = member_experiment(experiment, index), member_folder(run, index)
    where = _name(experiment, index)
    if devices.from_chief(lambda: (folder / LAST_WEIGHTS).is_file() and not Experiment.load(folder).differences(part)):
        report(f"{where}: whole.")
        return True
    try:
        train(part, data, folder, resume=IF_STARTED, devices=devices, report=lambda line: report(f"{where}: {line}"))
    except BlockingIOError:
        if devices.num_processes > 1:  # the chief alone knows of it
            raise
        return False
    gc.collect()  # of this member's graphs and records before the next makes its own
    return True


def _assemble(experiment, data, run, report):
    with training_in(run, wait=True):
        _put_together(experiment, data, run, report)


def _put_together(experiment, data, run, report):
    model = build_model(experiment)
    model.compile()
    _load_members(model, run, LAST_WEIGHTS)
    with disk_errors(run):
        callbacks.save_weights(model, run / LAST_WEIGHTS)
    _load_members(model, run, BEST_WEIGHTS)
    validation = callbacks.Validation(
        evaluation_dataset(data, "val", experiment.batch_size, crop_size=experiment.crop_size,
                           limit=experiment.validation_images, cache=True),
        experiment.validation_samples, experiment.seed, data.scored_classes,
    )
    validation.set_model(model)
    found = {}
    with explain_damage(data):
        validation.on_epoch_end(experiment.num_epochs - 1, found)
    rows = [callbacks.read_history(member_folder(run, index) / "history.csv")
            for index in range(experiment.num_members)]
    seconds = sum(row["seconds"] for history in rows for row in history)
    last = {"epoch": experiment.num_epochs, "step": experiment.steps, "seconds": round(seconds, 1)}
    callbacks.write_history(run / "history.csv", [last | found])
    with disk_errors(run):
        callbacks.save_weights(model, run / BEST_WEIGHTS)  # last: who finds them finds a whole run
    report(f"ensemble: validation cross-entropy {found['val_cross_entropy']:.4g}, energy distance "
           f"{found['val_energy_distance']:.4f}, sample diversity {found['val_sample_diversity']:.3f}")


def _load_members(model, run, weights):
    for index, member in enumerate(model.members):
        member.load_weights(member_folder(run, index) / weights)
