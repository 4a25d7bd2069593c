"""What figures of a comparison are drawn from: samples of a few images, and the plane of a model of two latents."""

import numpy as np

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.evaluation_cases import NUM_MODES_SHOWN, class_probability

PLANE_SIDE, PLANE_EXTENT = 9, 3.0  # segmentations a side of the plane; standard deviations from the prior's mean
NUM_PLANES = 3


def read_cases(data: DatasetInfo, split, num_cases, crop_size) -> dict[str, np.ndarray]:
    """A few images, spread evenly over a split, none picked by how it looks, with what graders drew.

    Of a dataset with flips the most probable modes stand for the graders.

    Args:
        data, split, crop_size: as `tf_probunet.evaluation.evaluate` takes them.
        num_cases: images at most.
    Returns:
        images [n, H, W, C] uint8 (255 is 1.0), segmentations [n, R, H, W] uint8, weights [n, R] float32 (0 for padding)
        and source_ids [n].
    """
    columns: dict[str, list] = {"images": [], "segmentations": [], "weights": [], "source_ids": []}
    with explain_damage(data):
        for batch in evaluation_dataset(data, split, 1, crop_size=crop_size, limit=num_cases).as_numpy_iterator():
            segmentations, weights = _graders(data, batch["segmentations"][0], batch["grader_weights"][0])
            columns["images"].append(np.rint(255 * np.clip(batch["image"][0], 0, 1)).astype(np.uint8))
            columns["segmentations"].append(segmentations.astype(np.uint8))
            columns["weights"].append(weights)
            columns["source_ids"].append(batch["source_id"][0].decode())
    for name in ("segmentations", "weights"):
        columns[name] = _pad(columns[name], 0)
    return {name: np.stack(values) for name, values in columns.items()}


def draw_pictures(model, data: DatasetInfo, split, *, num_cases, num_samples, seed, crop_size) -> dict[str, np.ndarray]:
    """A model's samples of the images of `read_cases` and, where its latents are two, its plane.

    Args:
        model: any segmenter.
        data, split, crop_size, num_samples, seed: as `tf_probunet.evaluation.evaluate` takes them.
        num_cases: as in `read_cases`.
    Returns:
        source_ids [n]; samples [n, M, H, W] uint8; probability [n, H, W] uint8 (255 is 1.0) of any foreground class,
        with flips of any flipped class; and perhaps what `latent_plane` returns, of the first images.
    """
    shown = [flip.target for flip in data.flips] or list(range(1, model.num_classes))
    columns: dict[str, list] = {"source_ids": [], "samples": [], "probability": []}
    planes: dict[str, list] = {}
    dataset = evaluation_dataset(data, split, 1, crop_size=crop_size, limit=num_cases)
    with explain_damage(data):
        for index, batch in enumerate(dataset):
            logits = np.asarray(model.sample(batch["image"], num_samples, seed=(seed, index))[0])  # [M, H, W, K]
            columns["source_ids"].append(batch["source_id"][0].numpy().decode())
            columns["samples"].append(logits.argmax(axis=-1).astype(np.uint8))
            probability = class_probability(logits.astype(np.float32), shown)
            columns["probability"].append(np.rint(255 * probability).astype(np.uint8))
            if index < NUM_PLANES and getattr(model, "latent_dim", None) == 2:
                segmentations = _graders(data, batch["segmentations"][0].numpy(), batch["grader_weights"][0].numpy())[0]
                for name, value in latent_plane(model, batch["image"], segmentations).items():
                    planes.setdefault(name, []).append(value)
    if planes:
        planes["plane_posteriors"] = _pad(planes["plane_posteriors"], np.nan)
    return {name: np.stack(values) for name, values in (columns | planes).items()}


def _graders(data, segmentations, weights):
    """Those to be drawn, and their weights: all graders, of a dataset with flips the most probable modes."""
    order = np.argsort(-weights, kind="stable")
    order = order[:NUM_MODES_SHOWN] if data.flips else order
    return segmentations[order], weights[order]


def _pad(values, filling):
    """Arrays [R, ...] brought to the same R."""
    most = max(map(len, values))
    return [np.pad(value, [(0, most - len(value))] + [(0, 0)] * (value.ndim - 1), constant_values=filling)
            for value in values]


def latent_plane(model, image, segmentations) -> dict[str, np.ndarray]:
    """Segmentations over the plane of a model of two latents: prior mean +-3 prior standard deviations (appendix A).

    Args:
        model: a segmenter with `prior` and `sample_from_noise`, whose latent_dim is 2.
        image: [1, H, W, C].
        segmentations: [R, H, W] of its graders.
    Returns:
        plane [side, side, H, W] uint8: of place (row, column) the first latent is that of the column, from low to high,
        the second that of the row, from high to low; plane_mean and plane_stddev [2] of the prior;
        plane_posteriors [R, 2], the posterior's mean for each grader, in the prior's standard deviations from its mean.
    """
    steps = np.linspace(-PLANE_EXTENT, PLANE_EXTENT, PLANE_SIDE, dtype=np.float32)
    rows = []
    for second in steps[::-1]:  # row by row, or the logits of many classes would fill the memory
        noise = np.stack([steps, np.full_like(steps, second)], axis=-1)[None]  # shape: [1, side, 2]
        rows.append(np.asarray(model.sample_from_noise(image, noise)[0]).argmax(axis=-1).astype(np.uint8))
    prior = model.prior(image)
    mean, stddev = (np.asarray(value[0], np.float32) for value in (prior.mean(), prior.stddev()))
    posteriors = [model.posterior(image, grader[None].astype(np.int32)).mean()[0] for grader in segmentations]
    return {"plane": np.stack(rows), "plane_mean": mean, "plane_stddev": stddev,
            "plane_posteriors": (np.asarray(posteriors, np.float32) - mean) / stddev}
