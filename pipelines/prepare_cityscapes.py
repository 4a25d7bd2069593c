"""Cityscapes on Apache Beam, one city of one split folder the unit of work: `probunet prepare cityscapes`."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from tf_probunet.pipelines.prepare import Plan, prepare
from tf_probunet.pipelines.units import run_serially

from tf_probunet.data import cityscapes
from tf_probunet.data.cityscapes_layout import SPLITS, Frame, Unit, find_units
from tf_probunet.data.parts import digest
from tf_probunet.data.units import Remarks
from tf_probunet.data.units import Unit as WorkUnit
from tf_probunet.data.writer import Record

RULES = 1  # to be raised when the same input gives other records


def prepare_cityscapes(sources, output, *, scale=4, flips=True, val_cities=None, split_within_cities=False,
                       allow_rejects=False, execute=run_serially, report=lambda line: None) -> None:
    """Writes a dataset folder from images and label ids in Cityscapes' layout.

    Args:
        sources: folders or zips.
        output: dataset folder to make.
        scale: integer by which height and width are divided; 4 is the paper's quarter resolution.
        flips: make the five classes of the paper ambiguous, which adds five twin classes to the 19.
        val_cities, split_within_cities: as `find_units` takes them.
        allow_rejects: leave out cities that cannot be used instead of stopping at the end.
        execute: (make, units) -> None, does units of work: `units.run_serially`, or `units.run_on_beam` with its
            options bound.
        report: called with lines of text for the user.
    Raises:
        OSError: a source is missing or unreadable, or the disk is full.
        ValueError: labels are missing or unknown, sizes do not fit, or splits would share a city.
        ImportError: cityscapesscripts, which knows the label ids, is not installed.
    """
    options = {"scale": scale, "flips": flips, "val_cities": val_cities, "split_within_cities": split_within_cities}
    make_plan = functools.partial(_plan, sources, options, report)
    prepare(make_plan, output, execute, allow_rejects=allow_rejects, report=report)


def city_records(unit: WorkUnit, remarks: Remarks) -> Iterator[Record]:
    """The records of one city; `unit.work` holds the fields of a `cityscapes_layout.Unit` and the scale."""
    frames = tuple(Frame(**frame) for frame in unit.work["unit"]["frames"])
    try:
        yield from cityscapes.read_unit(Unit(**{**unit.work["unit"], "frames": frames}), unit.work["scale"])
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the image
        raise ValueError(f"{error} All {len(frames)} images of {unit.work['unit']['city']} go with it.") from error


def _plan(sources, options, report, _: Path) -> Plan:
    found = find_units(sources, val_cities=options["val_cities"], split_within_cities=options["split_within_cities"],
                       report=report)
    dataset = cityscapes.writer_options(found, **options)
    units = {split: [] for split in SPLITS}
    for unit in found:
        work = {"unit": dataclasses.asdict(unit), "scale": options["scale"]}
        units[unit.split].append(WorkUnit(unit.name.replace("/", "-"), work, _files(unit)))
    names = (f"{unit.name} {frame.stem}" for unit in found for frame in unit.frames)
    dataset["preparation"] = {**dataset["preparation"], "frames_sha256": digest(names)}
    return Plan(units={split: part for split, part in units.items() if part}, records=city_records,
                settings={"rules": RULES}, dataset=dataset)


def _files(unit) -> tuple[tuple[str, int, int], ...]:
    """What the unit reads: its files, or the zips that hold them."""
    pairs = [pair for frame in unit.frames for pair in ((frame.image_source, frame.image),
                                                        (frame.label_source, frame.labels))]
    paths = {source if os.path.isfile(source) else os.path.join(source, name) for source, name in pairs}
    return tuple((path, (status := os.stat(path)).st_size, status.st_mtime_ns) for path in sorted(paths))
