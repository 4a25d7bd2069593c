"""The dataset format: a folder of TFRecord shards and one `dataset.json` that says what they hold."""

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_probunet.data.flips import Flip, flips_from_json, flips_to_json, scored_classes
from tf_probunet.data.format_checks import check_info

FORMAT = "tf_probunet.dataset/1"
INFO_NAME = "dataset.json"


@dataclasses.dataclass(frozen=True)
class ImageEncoding:
    """How stored integers map back to physical values, and which of those a network sees as 0 and as 1.

    `physical = stored * scale + offset`, in `unit`; `low` and `high` are physical values that become 0.0 and 1.0.
    """

    channels: int = 1
    bits: int = 8
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "grey level"
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self):
        if self.channels not in (1, 3, 4) or self.bits not in (8, 16):
            raise ValueError(
                f"Images are PNGs of 1, 3 or 4 channels and 8 or 16 bits. Received: channels={self.channels!r}, "
                f"bits={self.bits!r}."
            )
        numbers = (self.scale, self.offset, self.low, self.high)
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
            raise ValueError(f"scale, offset, low and high must be finite numbers. Received: {numbers}.")
        if not self.scale or self.low == self.high:
            raise ValueError(f"scale must not be 0 and low not be high: nothing could be told apart. Received: {self}.")

    def to_float(self, stored: tf.Tensor | np.ndarray):
        """Maps stored integers of any shape to float32 network input, 0..1; what is outside of the window is cut."""
        physical = tf.cast(stored, tf.float32) * self.scale + self.offset
        return tf.clip_by_value((physical - self.low) / (self.high - self.low), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says: classes, encoding, for each split its shards, counts and groups, and label flips.

    `classes` names the twins to which flips lead too; no stored segmentation holds those.
    """

    folder: Path
    classes: tuple[str, ...]
    ignore_label: int
    image: ImageEncoding
    splits: dict[str, dict]
    source: str
    licence: str
    preparation: dict
    flips: tuple[Flip, ...] = ()
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def scored_classes(self) -> tuple[int, ...] | None:
        """Classes under test in evaluation: those that flips switch; None, the whole foreground, without flips."""
        return scored_classes(self.flips)

    def with_window(self, window: tuple[float, float] | None) -> "DatasetInfo":
        """The same data read through another window: (value seen as 0, value seen as 1) in physical units.

        None keeps the dataset's own.
        """
        if window is None:
            return self
        low, high = window
        return dataclasses.replace(self, image=dataclasses.replace(self.image, low=float(low), high=float(high)))

    def facts(self) -> dict:
        """What a model trained on this data must remember of it, as JSON values."""
        return {
            "source": self.source,
            "licence": self.licence,
            "classes": list(self.classes),
            "ignore_label": self.ignore_label,
            "image": dataclasses.asdict(self.image),
            "preparation": self.preparation,
            **({"flips": flips_to_json(self.flips, self.classes)} if self.flips else {}),
            "num_images": {split: self.num_images(split) for split in self.splits},
            "content_sha256": {split: self._content_sha256(split) for split in self.splits},
        }

    def _content_sha256(self, split) -> str:
        """Of the checksums of a split's shards: data that was corrected, or prepared from elsewhere, has another."""
        checksums = [shard["sha256"] for shard in self.split(split)["shards"]]
        return hashlib.sha256("".join(checksums).encode()).hexdigest()

    def split(self, name: str) -> dict:
        """The entry of one split; a `ValueError` names the splits that exist."""
        if name not in self.splits:
            raise ValueError(f"No split {name!r} in {self.folder}. It has: {', '.join(sorted(self.splits))}.")
        return self.splits[name]

    def num_images(self, split: str) -> int:
        return self.split(split)["num_images"]

    def shard_paths(self, split: str) -> list[Path]:
        return [self.folder / shard["name"] for shard in self.split(split)["shards"]]

    def image_size(self, split: str) -> tuple[int, int] | None:
        """(height, width) that all images of the split share, or None when they differ."""
        sizes = self.split(split)["image_sizes"]
        return tuple(sizes[0]) if len(sizes) == 1 else None


def load_info(folder: str | os.PathLike) -> DatasetInfo:
    """Reads `dataset.json` and checks that every shard it names is there.

    Args:
        folder: a dataset folder, as `probunet prepare` writes it.
    Raises:
        OSError: the folder, its `dataset.json` or a shard is missing.
        ValueError: `dataset.json` is not of this format.
    """
    folder = Path(folder)
    path = folder / INFO_NAME
    if not path.is_file():
        what = f"has no {INFO_NAME}" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"Not a dataset: {folder} {what}. Expected a folder that `probunet prepare` wrote; run it first, "
            f"for instance `probunet prepare phantom --output {folder}`."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Copy the folder again or prepare it anew.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} has format {found!r}; expected {FORMAT!r}. Prepare it again.")
    try:
        check_info(content)
        info = DatasetInfo(
            folder=folder,
            classes=tuple(content["classes"]),
            ignore_label=content["ignore_label"],
            image=ImageEncoding(**content["image"]),
            splits=content["splits"],
            source=content["source"],
            licence=content["licence"],
            preparation=content["preparation"],
            flips=flips_from_json(content.get("flips", []), content["classes"]),
            files=content.get("files", {}),
        )
    except (TypeError, ValueError) as error:  # TypeError: fields of ImageEncoding
        raise ValueError(
            f"{path} is damaged or was edited: {error}. Copy the folder again or prepare it anew."
        ) from error
    missing = [path for split in info.splits for path in info.shard_paths(split) if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of the shards that its {INFO_NAME} names, first {missing[0].name}. "
            "Copy the folder whole or prepare it again."
        )
    return info
