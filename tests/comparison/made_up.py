"""A plan of tiny models, and evaluations and records of known figures, without any model."""

import dataclasses

import numpy as np

from tf_probunet.comparison.records import FORMAT, Record, plain
from tf_probunet.evaluation import Evaluation

CONTENT = {
    "name": "tiny", "title": "A tiny comparison", "about": "Made by the tests.", "published": "lidc",
    "base": {"preset": "demo", "precision": "float32", "channels": [4, 8], "num_convs": 1, "latent_dim": 3,
             "combiner_channels": [6],
             "crop_size": [32, 32], "batch_size": 4, "steps": 4, "steps_per_epoch": 2, "validation_images": 4,
             "validation_samples": 2},
    "entries": [
        {"name": "probabilistic", "label": "Probabilistic U-Net", "role": "reference", "seeds": [0, 1]},
        {"name": "heads", "label": "M-Heads", "role": "baseline", "fields": {"model": "mheads_unet"},
         "by_num_samples": {"4": {"num_heads": 4}, "16": {"num_heads": 16}}},
        {"name": "two", "label": "Two latents", "role": "illustration", "fields": {"latent_dim": 2}},
    ],
}
GROUPS = np.array(["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f"])


def evaluation(distances, counts=(1, 4, 8, 16), presence=None, groups=GROUPS, **fields):
    """An evaluation whose energy distance at n samples is `distances` [B] + 1/n."""
    size = len(groups)
    distances = np.asarray(distances, np.float64)
    graders = np.full(size, 0.4)
    values = dict(
        energy_distance={count: distances + 1 / count for count in counts},
        cross=distances + 0.2, sample_diversity=np.full(size, 0.1), grader_diversity=graders,
        matched_iou={count: 1 - distances for count in counts},
        reconstruction_iou=np.full(size, np.nan), variance_error_correlation=np.full(size, np.nan),
        calibration=np.tile([[10.0, 2.0, 3.0], [10.0, 9.0, 7.0]], (size, 1, 1)),
        grader_presence=np.ones(size) if presence is None else np.asarray(presence, np.float64),
        sample_presence=np.full(size, 0.5), groups=np.asarray(groups),
        source_ids=np.array([f"image {index}" for index in range(size)]), settings={"seed": 0},
    )
    return Evaluation(**(values | fields))


def record(run, evaluation, **pictures):
    """A record of a planned run, its training made up."""
    history = [{"step": step, "seconds": 5.0, "val_energy_distance": 1 / step} for step in (1, 2)]
    facts = plain({
        "format": FORMAT, "run": run.name, "experiment": dataclasses.asdict(run.experiment), "weights_sha256": "0" * 64,
        "data": {"source": "made up", "licence": "CC0", "classes": ["background", "lesion"], "ignore_label": 255,
                 "num_images": {"train": 1, "val": len(evaluation.groups)}},
        "evaluation": {}, "machine": {},
        "training": {"parameters": 1234, "steps": 2, "best_step": 2, "best_val_energy_distance": 0.5, "seconds": 10.0,
                     "history": history},
    })
    return Record(facts, evaluation, pictures)


