"""Units of work, and what is remarked on one: light to import, because workers that read headers start with it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Unit:
    """One piece of work.

    Args:
        name: unique, fit for a file name; parts are put together in the order of their units.
        work: what to do, as plain values that can be pickled and written as JSON.
        files: (path, size in bytes, time of change in ns) of what is read: where one changes, the work is done again.
        given: what follows from `work` and would cost every process time to look up; can be pickled, is not compared.
    """

    name: str
    work: Any
    files: tuple[tuple[str, int, int], ...] = ()
    given: Any = None


@dataclasses.dataclass
class Remarks:
    """What a unit has to tell beside its records; lines of text.

    Args:
        rejects: (what, reason) of what should have become records and could not.
        drops: (what, reason) of what a documented rule leaves out.
        notes: what a user should know.
    """

    rejects: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    drops: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
