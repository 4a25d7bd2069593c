"""What a record and `dataset.json` must hold, checked before anything is written or read."""

import json
import math

import numpy as np

MAX_FLIPS = 8  # evaluation constructs 2^F modes of every segmentation


def check_settings(classes, ignore_label, splits, records_per_shard, facts) -> None:
    """Raises `ValueError` for settings of a dataset that no reader could use; at once, not after hours of writing."""
    if not classes or len(classes) > 255 or not all(isinstance(name, str) and name for name in classes):
        raise ValueError(f"classes must be 1 to 255 names, background first. Received: {classes!r}.")
    if not isinstance(ignore_label, int) or not len(classes) <= ignore_label <= 255:
        raise ValueError(
            f"ignore_label must be a number that is no class and fits 8 bit, {len(classes)}..255. "
            f"Received: {ignore_label!r}."
        )
    if not splits or not all(isinstance(name, str) and name and "/" not in name for name in splits):
        raise ValueError(f"splits must be names such as 'train' and 'val', without '/'. Received: {list(splits)!r}.")
    if records_per_shard < 1:
        raise ValueError(f"records_per_shard must be at least 1. Received: {records_per_shard}.")
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"source, licence and preparation must be JSON values ({error}). Received: {facts!r}. Turn paths into text "
            "and arrays into lists."
        ) from error


def check_flips(entries, classes) -> None:
    """Raises `ValueError` for flips that contradict each other or the classes.

    Args:
        entries: as `dataset.json` has them: objects with "from" and "to" (names of classes) and "probability".
        classes: names of the classes.
    """
    _expect(isinstance(entries, list) and len(entries) <= MAX_FLIPS, "flips", entries, f"at most {MAX_FLIPS} flips")
    if not entries:
        return
    _expect(len(set(classes)) == len(classes), "classes", classes, "names that differ, so that flips can name them")
    for number, entry in enumerate(entries):
        where = f"flips[{number}]"
        _expect(isinstance(entry, dict) and set(entry) == {"from", "to", "probability"}, where, entry,
                "an object with from, to and probability")
        for end in ("from", "to"):
            _expect(isinstance(entry[end], str) and entry[end] in classes, f"{where}.{end}", entry[end],
                    f"one of the classes {', '.join(classes)}")
        probability = entry["probability"]
        _expect(_is(probability, (int, float)) and 0 <= probability <= 1, f"{where}.probability", probability,
                "a number of 0 to 1")
        _expect(entry["from"] != entry["to"], where, entry, "two different classes")
    sources, targets = ([entry[end] for entry in entries] for end in ("from", "to"))
    for end, names in (("from", sources), ("to", targets)):
        twice = sorted({name for name in names if names.count(name) > 1})
        _expect(not twice, f"flips.{end}", ", ".join(twice), f"each class in no more than one flip's {end!r}")
    both = sorted(set(sources) & set(targets))
    _expect(not both, "flips", ", ".join(both), "no class that is flipped and flipped to; give each its own twin")


def check_record(record, encoding, num_classes: int, ignore_label: int, twins=()) -> None:
    """Raises `ValueError` for a record that a reader could not use.

    Args:
        record: `Record`.
        encoding: `ImageEncoding` of the dataset.
        num_classes: K.
        ignore_label: class map value of unlabelled pixels.
        twins: classes that only flips make; no stored segmentation holds them.
    """
    for name in ("source_id", "group"):
        value = getattr(record, name)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} must be text that is not empty. Received: {value!r} ({record.source_id!r}).")
    image, segmentations = np.asarray(record.image), np.asarray(record.segmentations)
    dtype = np.dtype(f"uint{encoding.bits}")
    if image.ndim != 3 or image.shape[2] != encoding.channels or image.dtype != dtype or not image.size:
        raise ValueError(
            f"{record.source_id}: image is {image.dtype} {list(image.shape)}; expected {dtype} "
            f"[H, W, {encoding.channels}]. Convert it, or describe the images by another ImageEncoding."
        )
    if segmentations.ndim != 3 or segmentations.shape[1:] != image.shape[:2] or not len(segmentations):
        raise ValueError(
            f"{record.source_id}: segmentations have shape {list(segmentations.shape)}; expected "
            f"[R, {image.shape[0]}, {image.shape[1]}] with R >= 1, the size of the image. "
            "Bring image and segmentations to one size."
        )
    labels = () if segmentations.max(initial=0) < num_classes and segmentations.min(initial=0) >= 0 else (
        set(np.unique(segmentations).tolist()) - set(range(num_classes)) - {ignore_label})
    if labels or segmentations.dtype != np.uint8:
        wrong = f" with labels {sorted(labels)} that are no class" if labels else ""
        raise ValueError(
            f"{record.source_id}: segmentations are {segmentations.dtype}{wrong}; expected uint8 in "
            f"0..{num_classes - 1} or {ignore_label} (ignored). Map the labels to classes first."
        )
    flipped = np.intersect1d(segmentations, list(twins)) if twins else np.empty(0)
    if flipped.size:
        raise ValueError(
            f"{record.source_id}: segmentations hold {flipped.tolist()}, to which flips lead. Expected unflipped "
            "classes only: flips happen when the dataset is read. Store the class that is flipped."
        )
    for key, value in record.provenance.items():
        number = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)
        if not (number or isinstance(value, str)):
            raise ValueError(
                f"{record.source_id}: provenance {key!r} is {value!r}; expected text or a finite number. "
                "Leave out what is not known."
            )


def check_info(content) -> None:
    """Raises `ValueError`, naming the field, where `dataset.json` lacks something or has it of the wrong kind."""
    _expect(isinstance(content, dict), "the whole", content, "an object")
    kinds = {"classes": list, "ignore_label": int, "image": dict, "splits": dict, "source": str, "licence": str,
             "preparation": dict}
    _check_fields("", content, kinds)
    classes, ignored = content["classes"], content["ignore_label"]
    _expect(classes and all(isinstance(name, str) for name in classes), "classes", classes, "a list of names")
    _expect(len(classes) <= ignored <= 255, "ignore_label", ignored, f"a number in {len(classes)}..255")
    check_flips(content.get("flips", []), classes)
    image = content["image"]
    for field in ("channels", "bits", "scale", "offset", "unit", "low", "high"):  # no default where a file is read
        _expect(field in image, f"image.{field}", "nothing", "a value")
    files = content.get("files", {})
    named = isinstance(files, dict) and all(
        isinstance(sha256, str) and name and "/" not in name and "\0" not in name for name, sha256 in files.items())
    _expect(named, "files", files, "names of files in the same folder, each with its sha256")
    _expect(content["splits"], "splits", content["splits"], "at least one split")
    for name, split in content["splits"].items():
        where = f"splits.{name}"
        _expect(isinstance(split, dict), where, split, "an object")
        _check_fields(f"{where}.", split, {"num_images": int, "num_groups": int, "num_graders": dict,
                                           "image_sizes": list, "shards": list, "groups": list})
        sizes = split["image_sizes"]
        _expect(
            sizes and all(isinstance(size, list) and len(size) == 2 and all(_is(side, int) for side in size)
                          for size in sizes),
            f"{where}.image_sizes", sizes, "a list of [height, width]",
        )
        _expect(split["shards"], f"{where}.shards", split["shards"], "at least one shard")
        for shard in split["shards"]:
            _expect(isinstance(shard, dict), f"{where}.shards", shard, "objects")
            _check_fields(f"{where}.shards.", shard, {"name": str, "num_images": int, "sha256": str})
            plain = shard["name"] and "/" not in shard["name"] and "\0" not in shard["name"]
            _expect(plain, f"{where}.shards.name", shard["name"], "the name of a file in the same folder")


def _check_fields(where, fields, kinds):
    for field, kind in kinds.items():
        _expect(field in fields, where + field, "nothing", f"a value of type {kind.__name__}")
        _expect(_is(fields[field], kind), where + field, fields[field], f"a value of type {kind.__name__}")


def _is(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def _expect(condition, field, received, expected):
    if not condition:
        raise ValueError(f"{field}: expected {expected}. Received: {str(received)[:80]!r}")
