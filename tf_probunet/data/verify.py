"""Checks that a dataset folder holds what its `dataset.json` says, down to each record's pixels."""

import dataclasses
from collections import Counter

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tf_probunet.checksums import sha256_of
from tf_probunet.data.dataset import INFO_NAME, DatasetInfo


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
        ValueError: a record does not hold what the format or `dataset.json` says.
    """
    shards = [(split, shard) for split in info.splits for shard in info.split(split)["shards"]]
    tallies = {split: _Tally() for split in info.splits}
    group_split, source_ids = {}, {}
    unnamed = {path.name for path in info.folder.glob("*.tfrecord")} - {shard["name"] for _, shard in shards}
    if unnamed:
        raise ValueError(f"{info.folder / INFO_NAME} does not name {min(unnamed)}, which is there. {_remedy(info)}")
    for name, sha256 in info.files.items():
        path = info.folder / name
        if not path.is_file():
            raise OSError(f"{path} is missing, though {INFO_NAME} names it. {_remedy(info)}")
        if sha256_of(path) != sha256:
            raise OSError(f"{path} differs from its sha256 in {INFO_NAME}: it was replaced or changed. {_remedy(info)}")
    for number, (split, shard) in enumerate(shards):
        damage = shard_damage(info, shard)
        if damage:
            raise OSError(f"{damage} {_remedy(info)}")
        path = info.folder / shard["name"]
        for index, raw in enumerate(_read(path).as_numpy_iterator()):
            where = f"{path}, record {index}"
            try:
                source_id, group, size, graders = _check_record(info, raw)
                if group_split.setdefault(group, split) != split:
                    raise ValueError(f"group {group!r} is also in split {group_split[group]!r}.")
                if source_id in source_ids:
                    raise ValueError(f"source_id {source_id!r} is also that of {source_ids[source_id]}.")
            except ValueError as error:
                raise ValueError(f"{where}: {error} {_remedy(info)}") from error
            source_ids[source_id] = where
            tallies[split].add(group, size, graders)
        progress(number + 1, len(shards))
    for split, tally in tallies.items():
        _compare(info, split, tally)
    return {
        split: VerifiedSplit(tally.num_images, len(tally.groups), sum(n * k for n, k in tally.graders.items()))
        for split, tally in tallies.items()
    }


def shard_damage(info: DatasetInfo, shard: dict) -> str | None:
    """Says what is wrong with a shard, given its entry in `dataset.json`, or returns None.

    Reads the bytes only: what a record holds is as it was written where the checksum is right.
    """
    path = info.folder / shard["name"]
    num_records, damage = _count_records(path)
    if damage:
        return damage
    if num_records != shard["num_images"]:
        return f"{path} holds {num_records} records; dataset.json says {shard['num_images']}: it was cut or replaced."
    if sha256_of(path) != shard["sha256"]:
        return f"{path} is readable, but differs from its sha256 in dataset.json: it was replaced or changed."
    return None


def find_damage(path) -> str | None:
    """Reads a shard record by record; says which one cannot be read, or returns None."""
    return _count_records(path)[1]


def _remedy(info):
    return f"Copy the dataset again or prepare it anew: {info.folder}."


def _count_records(path):
    """How many records of a shard can be read, and what stopped the reading, if anything did."""
    index = 0
    try:
        for _ in _read(path):
            index += 1
    except tf.errors.NotFoundError:
        return index, f"{path} is missing."
    except tf.errors.DataLossError:
        return index, f"{path} is damaged at record {index} (its checksum does not match, or the file ends in it)."
    except tf.errors.OpError as error:
        return index, f"{path} cannot be read at record {index} ({type(error).__name__}: {error.message})."
    return index, None


def _read(path):
    return tf.data.TFRecordDataset(str(path), buffer_size=1 << 20)


class _Tally:
    """What was counted in one split so far."""

    def __init__(self):
        self.num_images = 0
        self.groups, self.sizes, self.graders = set(), set(), Counter()

    def add(self, group, size, graders):
        self.num_images += 1
        self.groups.add(group)
        self.sizes.add(size)
        self.graders[graders] += 1


def _compare(info, split, tally):
    """Raises `ValueError` where `dataset.json` says of a split what was not found in it."""
    found = {
        "num_images": tally.num_images,
        "num_groups": len(tally.groups),
        "groups": sorted(tally.groups),
        "image_sizes": sorted(map(list, tally.sizes)),
        "num_graders": {str(graders): count for graders, count in sorted(tally.graders.items())},
    }
    for field, value in found.items():
        said = info.split(split)[field]
        if said != value:
            raise ValueError(
                f"{info.folder / INFO_NAME} says {field} {str(said)[:80]} of split {split!r}; its shards hold "
                f"{str(value)[:80]}. dataset.json was changed. {_remedy(info)}"
            )


def _check_record(info, raw):
    """source_id, group, (height, width) and number of graders of a record."""
    try:
        feature = tf.train.Example.FromString(raw).features.feature
    except DecodeError as error:
        raise ValueError("is no tf.train.Example.") from error
    source_id, group = (_first(feature, key, "bytes_list").decode() for key in ("image/source_id", "group"))
    size = (_first(feature, "image/height", "int64_list"), _first(feature, "image/width", "int64_list"))
    image = _decode("image", _first(feature, "image/encoded", "bytes_list"), info.image.bits)
    if image.shape != (*size, info.image.channels):
        raise ValueError(f"image is {list(image.shape)}; expected {[*size, info.image.channels]}.")
    twins = {flip.target for flip in info.flips}  # no stored segmentation holds what only flips make
    allowed = [label for label in (*range(info.num_classes), info.ignore_label) if label not in twins]
    _first(feature, "segmentation/encoded", "bytes_list")
    encoded = feature["segmentation/encoded"].bytes_list.value
    for grader, png in enumerate(encoded):
        mask = _decode(f"segmentation {grader}", png, bits=8)
        if mask.shape != (*size, 1) or not np.isin(mask, allowed).all():
            raise ValueError(
                f"segmentation {grader} is {list(mask.shape)} with labels {np.unique(mask).tolist()}; "
                f"expected {[*size, 1]} with labels among {allowed}."
            )
    return source_id, group, size, len(encoded)


def _first(feature, key, kind):
    values = getattr(feature[key], kind).value
    if not values:
        raise ValueError(f"has no {key!r}.")
    return values[0]


def _decode(what, png, bits):
    """Pixels of a PNG, [H, W, C], as many channels as it has."""
    try:
        pixels = tf.io.decode_png(png, dtype=tf.uint16 if bits == 16 else tf.uint8).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{what} is no readable PNG.") from error
    stored_bits = png[24]  # of the header, which every PNG begins with; decode_png converts without a word
    if stored_bits != bits:
        raise ValueError(f"{what} has {stored_bits} bits; expected {bits}.")
    return pixels
