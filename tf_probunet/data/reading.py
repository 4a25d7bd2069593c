"""tf.data pipelines over a dataset folder: random training examples, and every image with all its graders."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_probunet.data.augment import Augmentation, augment
from tf_probunet.data.crop_scales import drawn_scale, scaled_crops
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.flips import all_modes, apply_flips, draw_flips
from tf_probunet.data.verify import shard_damage

FLIP_STREAM = 17  # tells the seed of flips from those of grader and augmentation, which are as they were without flips


def training_dataset(info: DatasetInfo, split, batch_size, *, crop_size=None, crop_scales=(1.0,),
                     augmentation=Augmentation(), seed=0, start_step=0, part=(0, 1), pieces=1) -> tf.data.Dataset:
    """Endless batches for `fit`: shuffled images, each with one grader drawn at random, cropped and augmented.

    The flips of the dataset, where it has any, are drawn anew each time an image is read. Everything random follows
    from `seed` and the position in the stream (each pass over the data is a permutation that is computed, not drawn),
    so a pipeline that starts at `start_step` goes on exactly as an unbroken one would have, at once. The encoded
    records of the split are held in memory: 8 KB for a LIDC crop with four masks.

    Args:
        info: of the dataset folder.
        split: for instance "train".
        batch_size: B, at scale 1.
        crop_size: (height, width), or None for whole images.
        crop_scales: factors on `crop_size`, of which each batch draws one. Batches of larger crops have fewer images
            (`tf_probunet.data.crop_scales.scaled_crops`) and leave the rest of their place in the pass out.
        augmentation: what may happen to an example.
        seed: of shuffling, sizes, grader, flips and augmentation.
        start_step: batches to skip.
        part: (index, number): makes only this one of so many equal parts of each batch, as each of several processes
            does that share it.
        pieces: cuts each batch, or the part of it, into so many equal ones, which follow each other.
    Returns:
        dataset of (images [B, height, width, C] float32, segmentations [B, height, width] int32).
    Raises:
        ValueError: an argument, or what it asks for does not fit the images.
    """
    crop_size = _check_crop(info, split, crop_size)
    _check_numbers(batch_size=(batch_size, 1), start_step=(start_step, 0), pieces=(pieces, 1))
    crops = scaled_crops(crop_size, batch_size, crop_scales)
    index, num_parts = part
    if not 0 <= index < num_parts:
        raise ValueError(f"part is (index, number of parts), with 0 <= index < number. Received: {part}.")
    for size, count in crops:
        _check_crop(info, split, size)
        if count % (num_parts * pieces):
            raise ValueError(f"A batch of {count} crops of {size[0]}x{size[1]} cannot be cut into {num_parts * pieces} "
                             "equal pieces. Choose another batch_size.")
    stride = max(count for _, count in crops)  # positions in the stream that a step has to itself
    num_images = info.num_images(split)
    records = _load_records(info, split)

    def example(position, size):
        epoch, place = position // num_images, position % num_images
        order_seed = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.int32)
        place = tf.random.experimental.index_shuffle(place, order_seed, num_images - 1)
        seeds = tf.random.split(tf.stack([tf.constant(seed, tf.int64), position]), 2)
        image, segmentation = _parse(info, records[place], grader_seed=seeds[0])
        if info.flips:
            flip_seed = tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), position]), FLIP_STREAM)
            segmentation = apply_flips(segmentation, info.flips, draw_flips(info.flips, flip_seed))
        return augment(image, segmentation, seeds[1], size, augmentation, info.ignore_label)

    def batches(steps, size, count):
        own = count // num_parts
        positions = steps.flat_map(lambda step: tf.data.Dataset.range(step * stride + index * own,
                                                                      step * stride + (index + 1) * own))
        examples = positions.map(lambda position: example(position, size), num_parallel_calls=tf.data.AUTOTUNE,
                                 deterministic=True)
        return examples.batch(own // pieces, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    steps = tf.data.Dataset.range(start_step, tf.int64.max)
    if len(crops) == 1:
        return batches(steps, *crops[0])

    def drawn(step):
        return drawn_scale(seed, step, len(crops))

    streams = [batches(steps.filter(lambda step, which=which: drawn(step) == which), *crop)
               for which, crop in enumerate(crops)]
    choices = steps.flat_map(lambda step: tf.data.Dataset.from_tensors(drawn(step)).repeat(pieces))
    return tf.data.Dataset.choose_from_datasets(streams, choices, stop_on_empty_dataset=True)


def evaluation_dataset(info: DatasetInfo, split, batch_size, *, crop_size=None, limit=None,
                       cache=False) -> tf.data.Dataset:
    """Every image of a split once, in the order of the files, with all its graders.

    Where the dataset has F flips, each grader's segmentation is given in all 2^F modes, constructed, not drawn, in the
    order of `tf_probunet.data.flips.all_modes`: mode 0, the unflipped one, first.

    Args:
        info: of the dataset folder.
        split: for instance "val".
        batch_size: images in a batch; the last may have fewer.
        crop_size: (height, width) of the central crop, or None for whole images.
        limit: take this many images, evenly spread over the split; None for all.
        cache: keep the images in memory for the next pass, before their modes are constructed.
    Returns:
        dataset of dicts: image [B, height, width, C] float32; segmentations [B, R, height, width] int32, R the
        largest number of graders (times modes) in the batch; grader_weights [B, R] float32, 1/R' for an image's R'
        graders (times the probability of the mode) and 0 for padding; source_id and group [B] string.
    """
    crop_size = _check_crop(info, split, crop_size)
    _check_numbers(batch_size=(batch_size, 1), limit=(limit, 1))
    num_images = info.num_images(split)
    records = _record_dataset(info, split).apply(tf.data.experimental.assert_cardinality(num_images))
    if limit is not None and limit < num_images:
        # Image i is taken when i * limit / num_images passes an integer: spread over patients, same ones each time.
        records = records.enumerate().filter(lambda i, _: (i * limit) % num_images < limit).map(lambda _, r: r)

    def example(record):
        parsed = _parse(info, record)
        height, width = crop_size
        start = (tf.shape(parsed["image"])[:2] - tf.constant(crop_size)) // 2
        parsed["image"] = tf.slice(parsed["image"], [start[0], start[1], 0], [height, width, -1])
        parsed["segmentations"] = tf.slice(parsed["segmentations"], [0, start[0], start[1]], [-1, height, width])
        return parsed

    def with_modes(parsed):
        segmentations, weights = all_modes(parsed["segmentations"], parsed["grader_weights"], info.flips)
        return parsed | {"segmentations": segmentations, "grader_weights": weights}

    examples = records.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    if cache:
        examples = examples.cache()
    if info.flips:
        examples = examples.map(with_modes)
    padding = {"image": 0.0, "segmentations": info.ignore_label, "grader_weights": 0.0, "source_id": "", "group": ""}
    num_batches = -(-min(num_images, limit or num_images) // batch_size)
    return (
        examples.padded_batch(batch_size, padding_values=padding)
        .apply(tf.data.experimental.assert_cardinality(num_batches))
        .prefetch(2)
    )


def encoded_image(info: DatasetInfo, split, index=0) -> bytes:
    """The PNG of one image of a split, as it is stored."""
    with explain_damage(info):
        record = next(_record_dataset(info, split).skip(index).as_numpy_iterator())
    return tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]


@contextlib.contextmanager
def explain_damage(info: DatasetInfo):
    """Turns TensorFlow's errors about an unreadable shard into one that names file, record and remedy."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError,
            tf.errors.FailedPreconditionError) as error:  # the last: fewer records than dataset.json promised
        for split in info.splits:
            for shard in info.split(split)["shards"]:
                damage = shard_damage(info, shard)
                if damage:
                    raise OSError(f"{damage} Copy the dataset again or prepare it anew: {info.folder}.") from error
        raise


def _record_dataset(info, split):
    return tf.data.TFRecordDataset([str(path) for path in info.shard_paths(split)], buffer_size=1 << 20)


def _load_records(info, split):
    """All encoded records of a split, [n] string."""
    with explain_damage(info):
        records = list(_record_dataset(info, split).as_numpy_iterator())
        if len(records) != info.num_images(split):
            raise tf.errors.DataLossError(
                None, None, f"{len(records)} records in split {split!r} of {info.folder}, not {info.num_images(split)}"
            )
    return tf.constant(np.array(records, dtype=object))


def _check_crop(info, split, crop_size):
    size = info.image_size(split)
    if crop_size is None:
        if size is None:
            raise ValueError(f"Images of split {split!r} in {info.folder} differ in size: pass a crop_size.")
        return size
    height, width = crop_size
    _check_numbers(crop_height=(height, 1), crop_width=(width, 1))
    for size in info.split(split)["image_sizes"]:
        if height > size[0] or width > size[1]:
            raise ValueError(
                f"The crop of {height}x{width} is larger than images of split {split!r} in {info.folder}, "
                f"{size[0]}x{size[1]}. Choose a crop that fits into every image."
            )
    return height, width


def _check_numbers(**numbers):
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}. Received: {value}.")


def _parse(info, record, grader_seed=None):
    """Decodes a record: one random grader's segmentation with `grader_seed`, all that it holds without."""
    features = tf.io.parse_single_example(record, {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/source_id": tf.io.FixedLenFeature([], tf.string),
        "group": tf.io.FixedLenFeature([], tf.string),
        "segmentation/encoded": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    })
    depth = tf.uint16 if info.image.bits == 16 else tf.uint8
    image = tf.io.decode_png(features["image/encoded"], channels=info.image.channels, dtype=depth)
    image = info.image.to_float(image)
    encoded = features["segmentation/encoded"]
    if grader_seed is not None:
        grader = tf.random.stateless_uniform((), grader_seed, maxval=tf.size(encoded), dtype=tf.int32)
        return image, tf.cast(_decode_mask(encoded[grader]), tf.int32)
    segmentations = tf.map_fn(_decode_mask, encoded, fn_output_signature=tf.TensorSpec([None, None], tf.uint8))
    num_graders = tf.size(encoded)
    return {
        "image": image,
        "segmentations": tf.cast(segmentations, tf.int32),
        "grader_weights": tf.ones([num_graders]) / tf.cast(num_graders, tf.float32),
        "source_id": features["image/source_id"],
        "group": features["group"],
    }


def _decode_mask(encoded):
    return tf.io.decode_png(encoded, channels=1)[..., 0]
