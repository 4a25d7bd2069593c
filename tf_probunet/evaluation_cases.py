"""Cases for a figure: images with their graders, samples and mean probability, none picked by how it looks."""

import numpy as np

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.models import Segmenter

NUM_MODES_SHOWN = 4  # of the 2^F of a dataset with F flips, in a figure


def example_cases(model: Segmenter, data: DatasetInfo, split, *, num_cases=6, num_samples=16, seed=0,
                  crop_size=None) -> list[dict]:
    """Cases for `tf_probunet.plots.sample_sheet`, spread evenly over the split; none is picked by how it looks.

    Of a dataset with flips, the most probable modes stand for the graders, and the probability is that of any flip.

    Args:
        model, data, split, num_samples, seed, crop_size: as `evaluate` takes them.
        num_cases: images.
    """
    cases = []
    shown = [flip.target for flip in data.flips] or range(1, model.num_classes)
    dataset = evaluation_dataset(data, split, 1, crop_size=crop_size, limit=num_cases)
    for index, batch in enumerate(dataset.take(num_cases)):
        logits = model.sample(batch["image"], num_samples, seed=(seed, index))[0].numpy()  # [M, H, W, K]
        segmentations = batch["segmentations"][0].numpy()
        if data.flips:
            by_weight = np.argsort(-batch["grader_weights"][0].numpy(), kind="stable")
            segmentations = segmentations[by_weight[:NUM_MODES_SHOWN]]
        cases.append({
            "name": batch["source_id"][0].numpy().decode(),
            "image": batch["image"][0].numpy(),
            "segmentations": segmentations,
            "samples": logits.argmax(axis=-1),
            "probability": class_probability(logits, shown),
        })
    return cases


def class_probability(logits, classes):
    """Mean over samples of the probability that a pixel is of any of the classes: logits [M, H, W, K] to [H, W]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted[..., list(classes)].sum(axis=-1) / shifted.sum(axis=-1)).mean(axis=0)
