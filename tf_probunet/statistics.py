"""What a split holds before any model sees it: how much graders draw, how often they agree, what is rare."""

import dataclasses
import math

import tensorflow as tf

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.tally import QUANTILES, Tally

SPACING = "provenance/pixel_spacing_mm"
BATCH_ELEMENTS = 2**23  # labels decoded at a time, 32 MiB of int32
MOST_IMAGES = 32  # in a batch


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Figures of one split. Shares are in 0..1; each image counts the same, and within it each grader by its weight.

    Args:
        split, num_images, num_groups, image_size, channels, source: what was read; `image_size` after the crop.
        graders_an_image: images by number of graders.
        presence: shares of images that `all`, `some` (and some did not) or `none` of the graders drew something in.
        graders_a_pixel: of the pixels that any grader marked as foreground, the share marked by 1, 2, .. graders.
        pairs: two different graders of one image: `iou` and `distance` (both empty: IoU 1), shares of pairs in which
            `both`, `one` or `neither` drew something, `iou_both`, the IoU where both did. None where no image has two.
        grader_diversity: E d(Y,Y') over all ordered pairs, a grader with itself included; the evaluation's floor is
            this divided by the number of samples.
        classes: by name, `pixels`: share of labelled pixels; `images`: share of images that any grader drew it in.
        ignored: share of pixels without a label.
        area: foreground of the segmentations that have any, in pixels, by quantile; None where none has.
        area_mm2: the same in square millimetres, where every record tells its pixel spacing.
        intensity: of all pixels and channels as the network sees them, by quantile.
    """

    split: str
    num_images: int
    num_groups: int
    image_size: tuple[int, int]
    channels: int
    source: str
    graders_an_image: dict[int, int]
    presence: dict[str, float]
    graders_a_pixel: dict[int, float]
    pairs: dict[str, float | None] | None
    grader_diversity: float
    classes: dict[str, dict[str, float]]
    ignored: float
    area: dict[float, float] | None
    area_mm2: dict[float, float] | None
    intensity: dict[float, float]

    def to_dict(self) -> dict:
        """All of it as JSON values; keys that are numbers become text."""
        def plain(value):
            return {str(key): plain(item) for key, item in value.items()} if isinstance(value, dict) else value

        return {name: plain(value) for name, value in dataclasses.asdict(self).items()}


def dataset_statistics(info: DatasetInfo, split, limit=None, *, crop_size=None,
                       progress=lambda done, total: None) -> Statistics:
    """Reads a split once, batch by batch.

    Args:
        info: of the dataset folder.
        split: for instance "val".
        limit: read this many images, spread evenly; None for all.
        crop_size: (height, width) of the central crop; None for whole images.
        progress: called with (images done, images in all).
    Raises:
        ValueError: there is no such split, or the crop does not fit.
        OSError: a shard is damaged.
    """
    most_graders = max(map(int, info.split(split)["num_graders"]))
    height, width = crop_size or info.image_size(split) or (1, 1)  # differing sizes without a crop fail below
    batch_size = min(MOST_IMAGES, max(1, BATCH_ELEMENTS // max(1, most_graders * height * width)))
    dataset = evaluation_dataset(info, split, batch_size, crop_size=crop_size, limit=limit)
    total = min(info.num_images(split), limit or math.inf)
    tally = Tally(info)
    with explain_damage(info):
        for batch in dataset.as_numpy_iterator():
            tally.add(batch)
            progress(tally.num_images, total)
        spacing = _pixel_spacing(info, split)
    return Statistics(split=split, image_size=(height, width), channels=info.image.channels, source=info.source,
                      **tally.close(spacing))


def _pixel_spacing(info, split):
    """Millimetres a pixel by source_id; None as soon as one record does not tell."""
    spacing = {}
    for record in tf.data.TFRecordDataset([str(path) for path in info.shard_paths(split)]).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        if SPACING not in features:
            return None
        told = features[SPACING]
        spacing[features["image/source_id"].bytes_list.value[0].decode()] = float(
            (told.float_list.value or told.int64_list.value)[0]
        )
    return spacing


def text(statistics: Statistics) -> str:
    """The statistics as aligned lines.

    Args:
        statistics: of `dataset_statistics`.
    """
    s = statistics
    height, width = s.image_size
    graders = ", ".join(f"{number} an image in {count:,} images" for number, count in s.graders_an_image.items())
    rows = [
        ("graders", graders),
        ("drew something", f"all graders in {_percent(s.presence['all'])} of images, some of them in "
                           f"{_percent(s.presence['some'])}, none in {_percent(s.presence['none'])}"),
        ("marked pixels", _votes(s.graders_a_pixel)),
    ]
    if s.pairs:
        pairs = s.pairs
        both = f" (IoU {pairs['iou_both']:.3f})" if pairs["iou_both"] is not None else ""
        rows += [
            ("two graders", f"mean IoU {pairs['iou']:.3f}, mean distance d = 1 - IoU {pairs['distance']:.3f}"),
            ("", f"both drew something in {_percent(pairs['both'])} of pairs{both}, one in "
                 f"{_percent(pairs['one'])} (0), neither in {_percent(pairs['neither'])} (1)"),
        ]
    rows.append(("E d(Y,Y')", f"{s.grader_diversity:.4f}, a grader with itself included; with n samples a perfect "
                              f"sampler scores {s.grader_diversity:.4f} / n"))
    lines = [f"Split {s.split}: {s.num_images:,} images of {s.num_groups:,} groups, {height}x{width} pixels, "
             f"{s.channels} channel{'s' * (s.channels > 1)}.", ""]
    lines += [f"{name:<15} {what}".rstrip() for name, what in rows]
    column = max(map(len, (*s.classes, "class")))
    lines += ["", f"{'class':<{column}}  labelled pixels  images with it"]
    lines += [f"{name:<{column}}  {_percent(shares['pixels'], 3):>15}  {_percent(shares['images']):>14}"
              for name, shares in s.classes.items()]
    if s.ignored:
        lines.append(f"{_percent(s.ignored, 3)} of pixels have no label.")
    tables = (("area, pixels", s.area, "{:.0f}"), ("area, mm2", s.area_mm2, "{:.1f}"),
              ("intensity", s.intensity, "{:.3f}"))
    heads = ["least", *[f"{100 * quantile:.0f} %" for quantile in QUANTILES[1:-1]], "most"]
    lines += ["", " " * 14 + "".join(f"{head:>9}" for head in heads)]
    lines += [f"{name:<14}" + "".join(f"{form.format(value):>9}" for value in values.values())
              for name, values, form in tables if values]
    lines.append("Area: foreground of segmentations that have any. Intensity: as the network sees it.")
    return "\n".join(lines)


def _percent(share, digits=1):
    return f"{100 * share:.{digits}f} %"


def _votes(shares):
    if not shares:
        return "none"
    if len(shares) <= 6:
        told = ", ".join(f"by {number} {_percent(share)}" for number, share in shares.items())
    else:
        half = sum(share for number, share in shares.items() if 2 * number >= len(shares))
        told = f"by 1 {_percent(shares[1])}, by half or more {_percent(half)}, by {len(shares)} " + _percent(
            shares[len(shares)]
        )
    return f"{told} (of the pixels that anybody marked)"
