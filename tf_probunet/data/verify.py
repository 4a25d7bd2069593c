"""Checks that a dataset folder holds what its `dataset.json` says, down to each record's pixels."""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_probunet.data.dataset import DatasetInfo, sha256_of


@dataclasses.dataclass(frozen=True)
class VerifiedSplit:
    """What was counted in a split."""

    num_images: int
    num_groups: int
    num_segmentations: int


def verify(info: DatasetInfo, progress=lambda done, total: None) -> dict[str, VerifiedSplit]:
    """Reads every byte: checksums, counts, sizes, labels, and that no two splits share a group.

    Args:
        info: from `load_info`.
        progress: called with (shards done, shards in all).
    Returns:
        what was counted, by split.
    Raises:
        OSError: a shard differs from its checksum or cannot be read; names the file, the record and the remedy.
        ValueError: a record does not hold what the format says.
    """
    found, group_split = {}, {}
    shards = [(split, shard) for split in info.splits for shard in info.split(split)["shards"]]
    tallies = {split: [0, set(), 0] for split in info.splits}
    for number, (split, shard) in enumerate(shards):
        path = info.folder / shard["name"]
        damage = find_damage(path)
        if damage is None and sha256_of(path) != shard["sha256"]:
            damage = f"{path} is readable, but differs from its sha256 in dataset.json: it was replaced or changed."
        if damage:
            raise OSError(f"{damage} Copy the dataset again or prepare it anew: {info.folder}.")
        tally = tallies[split]
        before = tally[0]
        for index, example in enumerate(_examples(path)):
            where = f"{path}, record {index}"
            group, graders = _check_record(info, where, example)
            if group_split.setdefault(group, split) != split:
                raise ValueError(f"{where}: group {group!r} is also in split {group_split[group]!r}.")
            tally[0] += 1
            tally[1].add(group)
            tally[2] += graders
        if tally[0] - before != shard["num_images"]:
            raise ValueError(f"{path} holds {tally[0] - before} records; dataset.json says {shard['num_images']}.")
        progress(number + 1, len(shards))
    for split, (images, groups, segmentations) in tallies.items():
        found[split] = VerifiedSplit(images, len(groups), segmentations)
        if images != info.num_images(split):
            raise ValueError(f"Split {split!r} holds {images} images; dataset.json says {info.num_images(split)}.")
    return found


def find_damage(path) -> str | None:
    """Reads a shard record by record; says which one cannot be read, or returns None."""
    index = 0
    try:
        for _ in _read(path):
            index += 1
    except tf.errors.NotFoundError:
        return f"{path} is missing."
    except (tf.errors.DataLossError, tf.errors.OpError) as error:
        return f"{path} is damaged at record {index} ({type(error).__name__}: its checksum does not match)."
    return None


def _read(path):
    return tf.data.TFRecordDataset(str(path), buffer_size=1 << 20)


def _examples(path):
    for raw in _read(path).as_numpy_iterator():
        yield tf.train.Example.FromString(raw).features.feature


def _check_record(info, where, feature):
    size = (feature["image/height"].int64_list.value[0], feature["image/width"].int64_list.value[0])
    image = tf.io.decode_png(feature["image/encoded"].bytes_list.value[0])
    if image.shape != (*size, info.image.channels):
        raise ValueError(f"{where}: image is {list(image.shape)}; expected {[*size, info.image.channels]}.")
    allowed = [*range(info.num_classes), info.ignore_label]
    encoded = feature["segmentation/encoded"].bytes_list.value
    if not encoded:
        raise ValueError(f"{where}: no segmentation. Every image has at least one grader.")
    for grader, png in enumerate(encoded):
        mask = tf.io.decode_png(png, channels=1)[..., 0].numpy()
        if mask.shape != size or not np.isin(mask, allowed).all():
            raise ValueError(
                f"{where}: segmentation {grader} is {list(mask.shape)} with labels {np.unique(mask).tolist()}; "
                f"expected {list(size)} with labels among {allowed}."
            )
    return feature["group"].bytes_list.value[0].decode(), len(encoded)
