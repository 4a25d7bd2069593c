"""Writes a dataset folder: shards of records, then `dataset.json`.

The folder appears under its final name by one rename, after every shard was closed and hashed: a killed or failed
preparation leaves nothing that a reader would take for a dataset.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_probunet.checksums import sha256_of
from tf_probunet.data.dataset import FORMAT, INFO_NAME, ImageEncoding
from tf_probunet.data.flips import flips_to_json
from tf_probunet.data.format_checks import check_flips, check_record, check_settings
from tf_probunet.staging import disk_errors, stage_folder


@dataclasses.dataclass(frozen=True)
class Record:
    """One image with what its graders drew.

    Args:
        image: [H, W, C] uint8 or uint16.
        segmentations: [R, H, W] uint8 class maps, one a grader.
        source_id: where the image came from; unique within the dataset.
        group: patient or city; no two splits share one.
        provenance: further facts about the image (str, int or float values), stored under `provenance/`.
    """

    image: np.ndarray
    segmentations: np.ndarray
    source_id: str
    group: str
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EncodedRecord:
    """A serialized `tf.train.Example`, and of it what a writer must know.

    Args:
        example: as the shard will hold it.
        source_id, group: as of `Record`.
        size: (height, width).
        num_graders: R.
    """

    example: bytes
    source_id: str
    group: str
    size: tuple[int, int]
    num_graders: int

    @classmethod
    def of(cls, record: Record) -> "EncodedRecord":
        """Encodes a record."""
        return cls(_encode(record), record.source_id, record.group, tuple(record.image.shape[:2]),
                   len(record.segmentations))

    @classmethod
    def parse(cls, example: bytes) -> "EncodedRecord":
        """Reads back what `of` encoded."""
        feature = tf.train.Example.FromString(example).features.feature
        text = {name: feature[name].bytes_list.value[0].decode() for name in ("image/source_id", "group")}
        height, width = (feature[f"image/{side}"].int64_list.value[0] for side in ("height", "width"))
        return cls(example, text["image/source_id"], text["group"], (height, width),
                   len(feature["segmentation/encoded"].bytes_list.value))


class DatasetWriter(contextlib.AbstractContextManager):
    """Writes a dataset folder; it exists under its name only after the `with` block ended without an error.

    Args:
        output: folder to make. An existing one is never written over.
        classes: names of the classes, background first.
        splits: names of the splits in the order in which they are listed.
        source: where the data is from, in words for a reader, with attribution.
        licence: of the data.
        preparation: the settings that made it, JSON values.
        image: how stored integers map to physical values.
        ignore_label: class map value of unlabelled pixels.
        records_per_shard: images in one shard file.
        flips: `tf_probunet.data.flips.Flip`s to be drawn when the dataset is read; none is the usual case.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from tf_probunet.data.dataset import load_info
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "two"
        >>> with DatasetWriter(folder, classes=("background", "lesion"), splits=("train",), source="an example",
        ...                    licence="CC0", preparation={}) as writer:
        ...     for name in "ab":
        ...         writer.write("train", Record(np.zeros((16, 16, 1), np.uint8), np.zeros((4, 16, 16), np.uint8),
        ...                                      source_id=name, group=name))
        >>> load_info(folder).num_images("train")
        2
    """

    def __init__(self, output, *, classes, splits, source, licence, preparation, image=ImageEncoding(),
                 ignore_label=255, records_per_shard=512, flips=()):
        facts = {"source": source, "licence": licence, "preparation": preparation}
        check_settings(tuple(classes), ignore_label, tuple(splits), records_per_shard, facts)
        self.flips = flips_to_json(flips, tuple(classes))
        check_flips(self.flips, classes)
        self._twins = tuple(flip.target for flip in flips)
        self.output = Path(output)
        self.classes = tuple(classes)
        self.image = image
        self.ignore_label = ignore_label
        self.records_per_shard = records_per_shard
        self._facts = facts
        self._splits = {name: _SplitWriter(name) for name in splits}
        self._group_split: dict[str, str] = {}
        self._source_ids: set[str] = set()
        self._files: dict[str, str] = {}
        self._staging = None

    def __enter__(self):
        self._staging = stage_folder(self.output)
        return self

    def write(self, split: str, record: Record) -> None:
        """Appends one record. Raises `ValueError` for what a reader could not use, `OSError` when the disk is full."""
        if self._staging is None:
            raise ValueError(f"The writer of {self.output} is not open. Write inside of its `with` block.")
        if split not in self._splits:
            raise ValueError(f"Unknown split {split!r}; this writer has {', '.join(self._splits)}.")
        check_record(record, self.image, len(self.classes), self.ignore_label, self._twins)
        self.write_encoded(split, EncodedRecord.of(record))

    def write_encoded(self, split: str, record: "EncodedRecord") -> None:
        """Appends a record that another process has checked (`check_record`) and encoded; raises as `write` does."""
        self._check_unique(split, record)
        with disk_errors(self.output):
            self._splits[split].write(self._staging, record, self.records_per_shard)

    def add_file(self, name: str, text: str) -> None:
        """Puts a text file beside the shards: it appears and disappears with the dataset."""
        with disk_errors(self.output):
            (self._staging / name).write_text(text, encoding="utf-8")
        self._files[name] = sha256_of(self._staging / name)

    def __exit__(self, exc_type, exc, traceback):
        try:
            if exc_type is None:
                with disk_errors(self.output):
                    self._close()
        finally:
            for split in self._splits.values():
                split.abandon()
            shutil.rmtree(self._staging, ignore_errors=True)  # gone already when the rename succeeded
            self._staging = None

    def _close(self):
        splits = {name: split.close(self._staging) for name, split in self._splits.items()}
        empty = [name for name, split in splits.items() if not split["num_images"]]
        if empty:
            raise ValueError(f"No image was written to split {', '.join(empty)} of {self.output}. Check the source.")
        content = {
            "format": FORMAT,
            **self._facts,
            "classes": self.classes,
            "ignore_label": self.ignore_label,
            "image": dataclasses.asdict(self.image),
            **({"flips": self.flips} if self.flips else {}),  # old readers know datasets without flips
            "splits": splits,
            **({"files": self._files} if self._files else {}),
        }
        info = self._staging / INFO_NAME
        info.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.rename(self._staging, self.output)

    def _check_unique(self, split, record):
        if record.source_id in self._source_ids:
            raise ValueError(f"source_id {record.source_id!r} was written twice. Give each image its own.")
        earlier = self._group_split.get(record.group, split)
        if earlier != split:
            raise ValueError(
                f"Group {record.group!r} is in split {earlier!r} and in {split!r}. Splits must not share a group "
                "(patient, city): images of one group are alike, and the evaluation would be too good to be true. "
                "Write the whole group to one split."
            )
        self._source_ids.add(record.source_id)
        self._group_split[record.group] = split


class _SplitWriter:
    """Shards of one split, numbered as they fill; their total is known only at the end, and named then."""

    def __init__(self, name):
        self.name = name
        self.counts: list[int] = []
        self.groups: dict[str, int] = {}
        self.graders: Counter = Counter()
        self.sizes: set[tuple[int, int]] = set()
        self._writer = None

    def write(self, folder, record, records_per_shard):
        if self._writer is None or self.counts[-1] == records_per_shard:
            if self._writer is not None:
                self._writer.close()
            self._writer = tf.io.TFRecordWriter(str(self._open_name(folder, len(self.counts))))
            self.counts.append(0)
        self._writer.write(record.example)
        self.counts[-1] += 1
        self.groups[record.group] = self.groups.get(record.group, 0) + 1
        self.graders[record.num_graders] += 1
        self.sizes.add(record.size)

    def close(self, folder) -> dict:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        shards = []
        for index, count in enumerate(self.counts):
            final = folder / f"{self.name}-{index:05d}-of-{len(self.counts):05d}.tfrecord"
            os.rename(self._open_name(folder, index), final)
            shards.append({"name": final.name, "num_images": count, "sha256": sha256_of(final)})
        return {
            "num_images": sum(self.counts),
            "num_groups": len(self.groups),
            "num_graders": {str(number): self.graders[number] for number in sorted(self.graders)},
            "image_sizes": sorted(self.sizes),
            "shards": shards,
            "groups": sorted(self.groups),
        }

    def abandon(self):
        if self._writer is not None:
            with contextlib.suppress(tf.errors.OpError):
                self._writer.close()
            self._writer = None

    def _open_name(self, folder, index):
        return folder / f"{self.name}-{index:05d}.open"


def _encode(record: Record) -> bytes:
    def feature(value):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], (bytes, str)):
            raw = [item.encode() if isinstance(item, str) else item for item in values]
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))
        if isinstance(values[0], (int, np.integer)):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/encoded": tf.io.encode_png(record.image).numpy(),
        "image/height": record.image.shape[0],
        "image/width": record.image.shape[1],
        "image/source_id": record.source_id,
        "group": record.group,
        "segmentation/encoded": [tf.io.encode_png(one[..., None]).numpy() for one in record.segmentations],
        **{f"provenance/{key}": value for key, value in record.provenance.items()},
    }
    example = tf.train.Example(
        features=tf.train.Features(feature={key: feature(value) for key, value in features.items()})
    )
    return example.SerializeToString(deterministic=True)
