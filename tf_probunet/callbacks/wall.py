"""The same validation images again and again, with what the model draws for them: a picture tells what no curve does."""

import numpy as np
import tensorflow as tf

from tf_probunet import overlay, plots
from tf_probunet.callbacks.drawing import Drawing
from tf_probunet.callbacks.weights import averaged_weights

MOST_IMAGES, MOST_SAMPLES, PANEL = 6, 8, 128
GRADER_COLOR, SAMPLE_COLOR = "#E69F00", "#56B4E9"  # Okabe and Ito's orange and sky blue


class Wall(Drawing):
    """Draws `wall.png` after epochs and, for TensorBoard's slider, the same as an image summary.

    A row an image: what graders drew, samples, and the mean probability of any foreground class. Images are spread
    evenly over those validation images on which some grader drew something. Does nothing where matplotlib is missing.

    Args:
        dataset: batches as `tf_probunet.data.reading.evaluation_dataset` gives them.
        path: PNG to write, anew each time.
        tensorboard: folder for the summaries.
        seed: of the samples; the same every time.
        num_epochs: of the run.
        num_samples: drawn an image.
    """

    def __init__(self, dataset, path, tensorboard, seed, num_epochs, num_samples=MOST_SAMPLES):
        super().__init__(num_epochs)
        self.dataset, self.path, self.seed = dataset, path, seed
        self.num_samples = min(num_samples, MOST_SAMPLES)
        self.cases = None
        self.writer = tf.summary.create_file_writer(str(tensorboard)) if plots.is_available() else None

    def draw(self, epoch, logs):
        if self.writer is None:
            return
        if self.cases is None:
            self.cases = choose_cases(self.dataset, self.model.ignore_label)
        with averaged_weights(self.model):
            logits = self.model.sample(np.stack([case["image"] for case in self.cases]), self.num_samples,
                                       seed=(self.seed, 0))
        probability = 1 - tf.reduce_mean(tf.nn.softmax(logits), axis=1)[..., 0].numpy()  # [B, H, W]
        step = int(self.model.optimizer.iterations)
        draw_wall(self.cases, np.argmax(logits, axis=-1), probability, self.path, num_classes=self.model.num_classes,
                  ignore_label=self.model.ignore_label,
                  title=f"Validation images after {step:,} steps; energy distance {logs['val_energy_distance']:.3f} on "
                        "all of them")
        with self.writer.as_default(step=epoch):
            tf.summary.image("wall", tf.io.decode_png(tf.io.read_file(str(self.path)))[None, ..., :3])
        self.writer.flush()


def choose_cases(dataset, ignore_label=255):
    """Up to six images of a dataset with something on them, evenly spread; any images where nothing is on them."""
    filled, empty = [], []
    for batch in dataset.as_numpy_iterator():
        for image, masks, weights in zip(batch["image"], batch["segmentations"], batch["grader_weights"], strict=True):
            masks = masks[np.argsort(-weights, kind="stable")[: np.count_nonzero(weights)]]
            anything = ((masks > 0) & (masks != ignore_label)).any()
            (filled if anything else empty).append({"image": image, "segmentations": masks[:4]})
    cases = filled or empty
    number = min(MOST_IMAGES, len(cases))
    return [cases[place * len(cases) // number] for place in range(number)]


def draw_wall(cases, samples, probability, path, *, num_classes, ignore_label, title):
    """Writes the page.

    Args:
        cases: dicts of image [H, W, C] in 0..1 and segmentations [R, H, W].
        samples: [B, M, H, W] class maps.
        probability: [B, H, W] of any foreground class.
        path: PNG to write.
        num_classes, ignore_label: of the model.
        title: first line.
    """
    from tf_probunet import sheet_page  # here, because it imports matplotlib

    tiles = []
    for case, drawn, mean in zip(cases, samples, probability, strict=True):
        panels = [_panel(case["image"], mask, num_classes, ignore_label, GRADER_COLOR)
                  for mask in case["segmentations"]]
        panels += [_panel(case["image"], mask, num_classes, ignore_label, SAMPLE_COLOR) for mask in drawn]
        panels.append(overlay.to_rgb(overlay.resize(mean[..., None], PANEL)))
        tiles.append(sheet_page.Tile(panels, []))
    legend = [("graders, from the left", GRADER_COLOR), ("samples", SAMPLE_COLOR)] if num_classes == 2 else []
    words = "" if legend else f"; from the left graders, {samples.shape[1]} samples"
    sheet_page.write_page(tiles, path, title=f"{title}{words}; last in each row the mean probability of any foreground",
                          legend=legend, columns=1)


def _panel(image, mask, num_classes, ignore_label, color):
    from tf_probunet.sheet_page import rgb

    base = overlay.to_rgb(overlay.resize(image, PANEL))
    if num_classes > 2:
        labels = overlay.resize(mask.astype(np.int64), PANEL)
        return overlay.draw_classes(labels, overlay.class_colors(num_classes), ignore_label)
    panel = overlay.hatch(base, overlay.resize(mask == ignore_label, PANEL))
    return overlay.draw_outlines(panel, [overlay.resize(mask == 1, PANEL)], [rgb(color)])
