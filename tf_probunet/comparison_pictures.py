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
            order = np.argsort(-batch["grader_weights"][0], kind="stable")
            order = order[:NUM_MODES_SHOWN] if data.flips else order
            columns["images"].append(np.rint(255 * np.clip(batch["image"][0], 0, 1)).astype(np.uint8))
            columns["segmentations"].append(batch["segmentations"][0][order].astype(np.uint8))
            columns["weights"].append(batch["grader_weights"][0][order])
            columns["source_ids"].append(batch["source_id"][0].decode())
    most = max(map(len, columns["weights"]))
    for name in ("segmentations", "weights"):
        columns[name] = [
            np.pad(value, [(0, most - len(value))] + [(0, 0)] * (value.ndim - 1)) for value in columns[name]
        ]
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
                for name, value in latent_plane(model, batch["image"]).items():
                    planes.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in (columns | planes).items()}


def latent_plane(model, image) -> dict[str, np.ndarray]:
    """Segmentations over the plane of a model of two latents: prior mean +-3 prior standard deviations (appendix A).

    Args:
        model: a segmenter with `prior` and `sample_from_noise`, whose latent_dim is 2.
        image: [1, H, W, C].
    Returns:
        plane [side, side, H, W] uint8: of place (row, column) the first latent is that of the column, from low to high,
        the second that of the row, from high to low; plane_mean and plane_stddev [2] of the prior.
    """
    steps = np.linspace(-PLANE_EXTENT, PLANE_EXTENT, PLANE_SIDE, dtype=np.float32)
    rows = []
    for second in steps[::-1]:  # row by row, or the logits of many classes would fill the memory
        noise = np.stack([steps, np.full_like(steps, second)], axis=-1)[None]  # shape: [1, side, 2]
        rows.append(np.asarray(model.sample_from_noise(image, noise)[0]).argmax(axis=-1).astype(np.uint8))
    prior = model.prior(image)
    return {"plane": np.stack(rows), "plane_mean": np.asarray(prior.mean()[0], np.float32),
            "plane_stddev": np.asarray(prior.stddev()[0], np.float32)}
