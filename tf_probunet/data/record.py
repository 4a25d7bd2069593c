"""One image of a split as it is stored: integers, every grader's segmentation, and what its source told."""

import tensorflow as tf

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import explain_damage
from tf_probunet.data.writer import Record

SPACING = "pixel_spacing_mm"  # of a record's provenance: millimetres, the side of a pixel


def read_record(info: DatasetInfo, split: str, index: int) -> Record:
    """Reads one record by its place in the split.

    Args:
        info: of the dataset folder.
        split: for instance "val".
        index: 0 for the first image, in the order of the files.
    Raises:
        IndexError: the split has fewer images. OSError: its shard is damaged.
    """
    if not 0 <= index < info.num_images(split):
        raise IndexError(f"Split {split!r} of {info.folder} has {info.num_images(split)} images. Received: {index}.")
    before = index
    for path, shard in zip(info.shard_paths(split), info.split(split)["shards"], strict=True):
        if before < shard["num_images"]:
            break
        before -= shard["num_images"]
    with explain_damage(info), tf.device("CPU"):
        example = next(iter(tf.data.TFRecordDataset(str(path)).skip(before).take(1).as_numpy_iterator()))
        return _decode(tf.train.Example.FromString(example).features.feature, info)


def _decode(feature, info):
    def text(name):
        return feature[name].bytes_list.value[0].decode()

    depth = tf.uint16 if info.image.bits == 16 else tf.uint8
    image = tf.io.decode_png(feature["image/encoded"].bytes_list.value[0], info.image.channels, depth).numpy()
    masks = [tf.io.decode_png(png, 1)[..., 0] for png in feature["segmentation/encoded"].bytes_list.value]
    masks = tf.stack(masks).numpy() if masks else tf.zeros((0, *image.shape[:2]), tf.uint8).numpy()
    told = {name.removeprefix("provenance/"): _value(feature[name]) for name in feature
            if name.startswith("provenance/")}
    return Record(image, masks, text("image/source_id"), text("group"), told)


def _value(feature):
    values = feature.bytes_list.value or feature.float_list.value or feature.int64_list.value
    return values[0].decode() if feature.bytes_list.value else values[0]
