"""Running sums for the statistics of a split: batches in, shares and quantiles out, in bounded memory."""

import numpy as np

from tf_probunet.metrics import pairwise_iou, presence

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Tally:
    """Sums over batches; what grows with the data is a few numbers a segmentation.

    Args:
        info: `DatasetInfo` of the images to come.
    """

    def __init__(self, info):
        self.info = info
        self.num_images = 0
        self.groups = set()
        self.graders = np.zeros(1, np.int64)  # images by number of graders
        self.votes = np.zeros(1, np.int64)  # pixels by number of graders who marked them
        self.present = []  # [B] whether all, and whether any grader drew something
        self.diversity = 0.0
        self.pairs = np.zeros(5)  # images with a pair; sums of IoU, both drew, neither drew, IoU where both drew
        self.pixels = np.zeros(info.num_classes + 1)  # weighted pixels of each class, and ignored ones
        self.images_with = np.zeros(info.num_classes, np.int64)
        self.areas = []  # (source_id, pixels, weight) of segmentations with foreground
        self.stored = np.zeros(2**info.image.bits, np.int64)

    def add(self, batch):
        """Counts a batch of `evaluation_dataset`, as numpy arrays."""
        masks = batch["segmentations"]  # [B, R, H, W]
        weights = batch["grader_weights"].astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        real = weights > 0  # the others pad images with fewer graders than the batch's most
        names = [name.decode() for name in batch["source_id"]]
        self.num_images += len(masks)
        self.groups.update(batch["group"].tolist())
        self.graders = _add(self.graders, np.bincount(real.sum(axis=1)))
        self._add_agreement(masks, weights, real)
        for image, name in enumerate(names):
            self._add_labels(masks[image][real[image]], weights[image][real[image]], name)
        self.stored += np.bincount(_stored(self.info.image, batch["image"]), minlength=len(self.stored))

    def _add_agreement(self, masks, weights, real):
        options = dict(num_classes=self.info.num_classes, classes=self.info.scored_classes,
                       ignore_label=self.info.ignore_label)
        drew = presence(masks, **options) & real
        self.present.append(np.stack([(drew | ~real).all(axis=1), drew.any(axis=1)]))
        iou = pairwise_iou(masks, masks, **options)  # [B, R, R]
        self.diversity += np.einsum("br,brs,bs->", weights, 1 - iou, weights)
        pairs = weights[:, :, None] * weights[:, None, :] * ~np.eye(weights.shape[1], dtype=bool)
        several = real.sum(axis=1) > 1
        pairs, iou, drew = pairs[several], iou[several], drew[several]
        pairs /= pairs.sum(axis=(1, 2), keepdims=True)
        both = drew[:, :, None] & drew[:, None, :]
        neither = ~drew[:, :, None] & ~drew[:, None, :]
        sums = [(pairs * value).sum() for value in (iou, both, neither, both * iou)]
        self.pairs += [len(pairs), *sums]

    def _add_labels(self, masks, weights, name):
        """Masks [R, H, W] of one image, weights [R]."""
        ignored = self.info.ignore_label
        foreground = (masks > 0) & (masks != ignored)
        self.votes = _add(self.votes, np.bincount(foreground.sum(axis=0).ravel(), minlength=len(masks) + 1))
        counts = np.stack([np.bincount(mask.ravel(), minlength=ignored + 1) for mask in masks])  # [R, labels]
        counts = counts[:, [*range(self.info.num_classes), ignored]]
        self.pixels += weights @ counts
        self.images_with += counts[:, :-1].any(axis=0)
        for weight, area in zip(weights, counts[:, 1:-1].sum(axis=1), strict=True):
            if area:
                self.areas.append((name, area, weight))

    def close(self, spacing):
        """The figures, as fields of `Statistics`; `spacing` is millimetres a pixel by source_id, or None."""
        info, marked = self.info, self.votes[1:]
        share_all, share_any = np.concatenate(self.present, axis=1).mean(axis=1)
        labelled = max(self.pixels[:-1].sum(), 1e-300)  # only zeros are divided by it where nothing is labelled
        areas = np.array([area for _, area, _ in self.areas], float)
        weights = np.array([weight for *_, weight in self.areas])
        known = spacing is not None and len(areas)
        per_pixel = np.array([spacing[name] ** 2 for name, *_ in self.areas]) if known else None
        values = info.image.to_float(np.arange(len(self.stored))).numpy()
        return dict(
            num_images=self.num_images, num_groups=len(self.groups),
            graders_an_image={number: int(count) for number, count in enumerate(self.graders) if count},
            presence={"all": float(share_all), "some": float(share_any - share_all), "none": float(1 - share_any)},
            graders_a_pixel={
                number: float(count / marked.sum()) for number, count in enumerate(marked, 1) if marked.any()
            },
            pairs=self._close_pairs(),
            grader_diversity=float(self.diversity / self.num_images),
            classes={
                name: {"pixels": float(self.pixels[label] / labelled),
                       "images": float(self.images_with[label] / self.num_images)}
                for label, name in enumerate(info.classes)
            },
            ignored=float(self.pixels[-1] / self.pixels.sum()),
            area=_quantiles(areas, weights) if len(areas) else None,
            area_mm2=_quantiles(areas * per_pixel, weights) if known else None,
            intensity=_quantiles(values, self.stored),
        )

    def _close_pairs(self):
        images, iou, both, neither, iou_both = self.pairs.tolist()
        if not images:
            return None
        return {
            "iou": iou / images, "distance": 1 - iou / images, "both": both / images,
            "one": max(0.0, 1 - (both + neither) / images), "neither": neither / images,
            "iou_both": iou_both / both if both else None,
        }


def _add(first, second):
    """Sum of two histograms of different length."""
    size = max(len(first), len(second))
    return np.pad(first, (0, size - len(first))) + np.pad(second, (0, size - len(second)))


def _quantiles(values, weights):
    """Values below or at which a share of the weight lies: always one of `values`, never something in between."""
    values, weights = values[weights > 0], weights[weights > 0]
    found = np.quantile(values, QUANTILES, weights=weights, method="inverted_cdf")
    return dict(zip(QUANTILES, map(float, found), strict=True))


def _stored(encoding, image):
    """The integers of the PNG behind network input, flat; counting them bounds memory and loses nothing."""
    physical = image.astype(np.float64) * (encoding.high - encoding.low) + encoding.low
    return np.rint((physical - encoding.offset) / encoding.scale).astype(np.int64).ravel()
