"""Pages to look at before training: images with what every grader drew, and what augmentation makes of them."""

import numpy as np
import tensorflow as tf

from tf_probunet import overlay, plots
from tf_probunet.data.augment import augment
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.sheet_page import TEXT, Tile, hexadecimal, letters_in, rgb, shorten, write_page

PANEL, SMALL_PANEL = 256, 200  # most pixels a side; the small ones where several class maps stand beside an image
GRADER_COLORS = tuple(plots.COLORS[index] for index in (4, 5, 3, 2, 1, 0))  # those that stand out from grey first
MOST_OUTLINES, MOST_MAPS = len(GRADER_COLORS), 4  # graders shown of an image


def contact_sheet(info: DatasetInfo, split, path, *, num_images=24, crop_size=None) -> int:
    """Images of a split, evenly spread, each with the outlines of its graders, or their class maps beside it.

    Args:
        info: of the dataset folder. With two classes outlines are drawn over the image; with more, outlines of dozens
            of classes could not be read, and class maps stand beside it.
        split: for instance "val".
        path: PNG to write.
        num_images: images at most.
        crop_size: (height, width) of the central crop; None for whole images.
    Returns:
        Number of images drawn.
    Raises:
        ValueError: there is no such split, or the crop does not fit.
        OSError: the file cannot be written, or a shard is damaged.
        ImportError: matplotlib is missing.
    """
    plots._pyplot()  # nothing is read where nothing can be drawn
    cases = _read(info, split, num_images, crop_size)
    most = max(len(case["segmentations"]) for case in cases)
    if info.num_classes == 2:
        shown = min(most, MOST_OUTLINES)
        tiles = [_outlined(case, info, shown) for case in cases]
        legend = [(f"grader {number + 1}", GRADER_COLORS[number]) for number in range(shown)]
        notes = ["where outlines coincide, their colours take turns"] * (shown > 1)
    else:
        shown = min(most, MOST_MAPS)
        tiles = [_mapped(case, info, shown) for case in cases]
        legend = _class_legend([mask for case in cases for mask in case["segmentations"][:shown]], info)
        notes = []
    if most > shown:
        notes.append(f"of up to {most} graders an image, the {shown} of largest weight are shown")
    if any((case["segmentations"] == info.ignore_label).any() for case in cases):
        legend.append(("striped: no label", hexadecimal(overlay.IGNORED)))
    title = f"Split {split}: {len(cases)} of {info.num_images(split):,} images, evenly spread"
    write_page(tiles, path, title="; ".join([title, *notes]), legend=legend, footer=_footer(info))
    return len(cases)


def augmented_sheet(info: DatasetInfo, split, path, augmentation, crop_size, *, name="", num_images=5, num_views=6,
                    seed=0) -> int:
    """A row for each of a few images: whole, then as training would see it, with one grader's segmentation.

    Args:
        info, split, path: as `contact_sheet` takes them. Where images differ in size, what is common to all, at their
            centre, stands for the whole.
        augmentation: `tf_probunet.data.augment.Augmentation`.
        crop_size: (height, width) that training cuts out.
        name: of the preset, for title and errors.
        num_images: rows at most, evenly spread over the split.
        num_views: augmented views of each image.
        seed: of the augmentation; the same seed gives the same page.
    Returns:
        Number of images drawn.
    Raises:
        ValueError, OSError, ImportError: as `contact_sheet`.
    """
    plots._pyplot()
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1. Received: {num_views}. Say how many views to draw an image.")
    whole = _common_size(info, split, crop_size, name)
    tiles, drawn_masks = [], []
    for row, case in enumerate(_read(info, split, num_images, whole)):
        masks = case["segmentations"]
        drew = [index for index, mask in enumerate(masks) if ((mask > 0) & (mask != info.ignore_label)).any()]
        grader = (drew or [0])[0]  # one for the whole row, or views could not be compared
        image, mask = tf.constant(case["image"]), tf.constant(masks[grader])
        views = [(case["image"], masks[grader])]
        for view in range(num_views):
            # As training derives it from its seed and the example's position in the stream.
            seeds = tf.random.split(tf.constant([seed, row * num_views + view], tf.int64), 2)
            drawn = augment(image, mask, seeds[1], tuple(crop_size), augmentation, info.ignore_label)
            views.append([tensor.numpy() for tensor in drawn])
        panels = [_panel(*view, info) for view in views]
        drawn_masks += [view[1] for view in views]
        caption = f", grader {grader + 1}" if len(masks) > 1 else ""
        tiles.append(Tile([panels[0]], _named(case["name"] + caption, panels[0].shape[1])))
        tiles += [Tile([panel], [[(f"view {number}", TEXT)]]) for number, panel in enumerate(panels[1:], 1)]
    outlined = info.num_classes == 2
    legend = [("the grader's outline", GRADER_COLORS[0])] if outlined else _class_legend(drawn_masks, info)
    if any(info.ignore_label in mask for mask in drawn_masks):
        legend.append(("striped: no label, left out of the loss", hexadecimal(overlay.IGNORED)))
    title = (f"Split {split}: the whole image of {whole[0]}x{whole[1]}, and {num_views} views of "
             f"{crop_size[0]}x{crop_size[1]} as {f'preset {name}' if name else 'training'} augments it, seed {seed}")
    write_page(tiles, path, title=title, legend=legend, footer=_footer(info), columns=num_views + 1)
    return len(tiles) // (num_views + 1)


def _read(info, split, limit, crop_size):
    """Images with their real graders, the weightiest first where weights differ."""
    cases = []
    dataset = evaluation_dataset(info, split, 1, crop_size=crop_size, limit=limit)
    with explain_damage(info):
        for batch in dataset.as_numpy_iterator():
            weights = batch["grader_weights"][0]
            order = [index for index in np.argsort(-weights, kind="stable") if weights[index] > 0]
            cases.append({"image": batch["image"][0], "segmentations": batch["segmentations"][0][order],
                          "weights": weights[order], "name": batch["source_id"][0].decode()})
    return cases


def _common_size(info, split, crop_size, name):
    """(height, width) that every image of the split has, and that the crop fits into."""
    height, width = (min(sides) for sides in zip(*info.split(split)["image_sizes"], strict=True))
    if crop_size[0] > height or crop_size[1] > width:
        who = f"Preset {name}" if name else "This augmentation"
        raise ValueError(
            f"{who} cuts crops of {crop_size[0]}x{crop_size[1]}, but there are images of {height}x{width} in split "
            f"{split!r} of {info.folder}. Give a crop that fits, here and in training, for instance --crop_size "
            f"{height},{width}, or prepare the data anew with larger images."
        )
    return height, width


def _outlined(case, info, shown):
    masks = case["segmentations"][:shown]
    empty = [number for number, mask in enumerate(masks) if not (mask == 1).any()]
    panel = _draw(case["image"], masks, info)
    nothing = [(f"{number + 1}{',' if number != empty[-1] else ':'} ", GRADER_COLORS[number]) for number in empty]
    captions = [*_named(case["name"], panel.shape[1]), nothing and [*nothing, ("nothing", TEXT)]]
    return Tile([panel], captions)


def _named(name, width):
    """Lines of a caption: one, or the group and what follows it where one is too short for both."""
    parts = name.split("/", 1) if len(name) > letters_in(width) else [name]
    return [[(shorten(part, width), TEXT)] for part in parts]


def _draw(image, masks, info):
    """An image under the outlines of masks [R, H, W], with stripes where no grader has a label."""
    factor = PANEL // max(image.shape[:2])
    base = overlay.hatch(
        overlay.to_rgb(overlay.resize(image, PANEL)),
        overlay.resize((masks == info.ignore_label).all(axis=0), PANEL),
    )
    filled = [overlay.resize(mask == 1, PANEL) for mask in masks]
    return overlay.draw_outlines(base, filled, [rgb(color) for color in GRADER_COLORS[: len(masks)]],
                                 1 if factor < 3 else 2)


def _mapped(case, info, shown):
    colors = overlay.class_colors(info.num_classes)
    size = PANEL if shown == 1 else SMALL_PANEL
    maps = [overlay.resize(mask, size) for mask in case["segmentations"][:shown]]
    image = overlay.to_rgb(overlay.resize(case["image"], size))
    panels = [image, *[overlay.draw_classes(labels, colors, info.ignore_label) for labels in maps]]
    width = len(panels) * image.shape[1]
    captions = _named(case["name"], width)
    if len(case["segmentations"]) > 1:
        weights = ", ".join(f"{100 * weight:.0f} %" for weight in case["weights"][:shown])
        captions.append([(shorten(f"weights {weights}", width), TEXT)])
    return Tile(panels, captions)


def _panel(image, mask, info):
    """An image under one segmentation: its outline, or its classes shining through; stripes where ignored."""
    if info.num_classes == 2:
        return _draw(image, mask[None], info)
    colors = overlay.class_colors(info.num_classes)
    classes = overlay.draw_classes(overlay.resize(mask, PANEL), colors, info.ignore_label)
    base = overlay.to_rgb(overlay.resize(image, PANEL))
    return ((base.astype(np.uint16) + classes) // 2).astype(np.uint8)


def _class_legend(masks, info):
    colors = overlay.class_colors(info.num_classes)
    found = sorted(set().union(*(np.unique(mask).tolist() for mask in masks)) - {info.ignore_label})
    return [(info.classes[label], hexadecimal(colors[label])) for label in found]


def _footer(info):
    return f"{info.source}. Licence: {info.licence}."
