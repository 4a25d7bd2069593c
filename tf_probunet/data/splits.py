"""Splitting by group: all images of a patient, volume or city fall to one split."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def split_by_group(groups: Iterable[str], val_fraction: float = 0.15, seed: int = 0) -> dict[str, str]:
    """Draws the groups of "val" by lot; the others are "train".

    Args:
        groups: names; two or more different ones.
        val_fraction: share of the groups that become "val", at least one.
        seed: of the lot.
    Returns:
        The split of each group.
    Raises:
        ValueError: there is one group only, or the share does not lie between 0 and 1.
    """
    groups = sorted(set(groups))
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1. Received: {val_fraction}.")
    if len(groups) < 2:
        raise ValueError(
            f"Only one group ({', '.join(groups)}): cannot make train and val without sharing it. Expected two or "
            "more, or splits that are named."
        )
    num_val = min(max(1, round(val_fraction * len(groups))), len(groups) - 1)
    chosen = set(np.random.default_rng(seed).permutation(groups)[:num_val].tolist())
    return {group: "val" if group in chosen else "train" for group in groups}


def read_groups(
    path: str | os.PathLike, images: Iterable[str], left_out: Iterable[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Reads a CSV with the columns image, group and, if there is one, split.

    Args:
        path: of the CSV. An image is named by its path below the folder of images, with or without the ending.
        images: names of all images, without endings.
        left_out: names of further images; it may list them, too.
    Returns:
        The group of each image, and the split of each image; the latter is empty where there is no such column.
    Raises:
        OSError: no such file. ValueError: it does not name each image once.
    """
    path, wanted, groups, splits = Path(path), set(images), {}, {}
    known = wanted | set(left_out)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Expected a CSV with the columns image,group[,split].")
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), skipinitialspace=True)
        columns = reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8 ({error}).") from error
    if not {"image", "group"} <= set(columns):
        raise ValueError(f"{path} has the columns {', '.join(columns) or '(none)'}. Expected image,group[,split].")
    for line, row in enumerate(rows, 2):
        # Blanks around a name would make two groups of one patient.
        name, group, split = ((row.get(column) or "").strip() for column in ("image", "group", "split"))
        if name not in known:
            name = next((stem for stem in _stems(name) if stem in known), name)
        wrong = (
            "is no image" if name not in known
            else "is listed twice" if name in groups
            else "has no group" if not group
            else "has no split" if "split" in row and not split
            else None
        )
        if wrong:
            raise ValueError(f"{path}, line {line}: {name!r} {wrong}. Expected the columns image,group[,split], each "
                             "image once.")
        groups[name] = group
        if "split" in row:
            splits[name] = split
    missing = sorted(wanted - groups.keys())
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} of the {len(wanted)} images, first {missing[0]!r}. Add a line "
                         "for each.")
    return tuple({name: value for name, value in found.items() if name in wanted} for found in (groups, splits))


def _stems(name):
    """A name without one ending, and without two (.nii.gz)."""
    for _ in range(2):
        name = name.rpartition(".")[0]
        yield name
