"""What is compared: a plan of models, what they share, and the runs that follow from it."""

import dataclasses

from tf_probunet.experiment import Experiment

SAMPLE_COUNTS = (1, 4, 8, 16)  # at which models are compared, as in figure 4 of the paper
ROLES = ("reference", "baseline", "ablation", "illustration")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One training: its name, the entry it belongs to, the samples it is evaluated with, and the experiment."""

    name: str
    entry: str
    num_samples: int
    seed: int
    experiment: Experiment


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of a comparison.

    Args:
        name: of its runs.
        label: in tables and figures.
        role: "reference", to which all others are compared, "baseline", "ablation", or "illustration", which is drawn
            but in no table.
        fields: of the experiment, in which it differs from the base.
        seeds: one run each.
        variants: fields by number of samples; {16: {}} where one model serves all.
    """

    name: str
    label: str
    role: str
    fields: dict
    seeds: tuple[int, ...]
    variants: dict[int, dict]

    def variant_for(self, num_samples) -> int:
        """The variant that is used at so many samples: the smallest that has as many."""
        return min(variant for variant in self.variants if variant >= num_samples)

    def run_name(self, variant, seed) -> str:
        """The name of a run, its folder and its record."""
        return f"{self.name}-{variant}-seed{seed}" if len(self.variants) > 1 else f"{self.name}-seed{seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Models to be compared, and what they share.

    Args:
        name, title: of the comparison.
        about: a paragraph for its page.
        attribution: whose the data is, where the dataset itself does not say it, as one in another's layout cannot.
        base: experiment that every entry starts from.
        entries: `Entry`s, in the order of tables and figures.
        published: a table of `tf_probunet.comparison.published` to stand on the page, or None.
    """

    name: str
    title: str
    about: str
    attribution: str
    base: Experiment
    entries: tuple[Entry, ...]
    published: str | None

    @property
    def reference(self) -> Entry:
        return next(entry for entry in self.entries if entry.role == "reference")

    @property
    def compared(self) -> tuple[Entry, ...]:
        """All but illustrations."""
        return tuple(entry for entry in self.entries if entry.role != "illustration")

    def runs(self) -> list[PlannedRun]:
        """Every run, those of each entry's first seed first, so that a page is soon whole."""
        most = max(len(entry.seeds) for entry in self.entries)
        places = [(entry, place) for place in range(most) for entry in self.entries if place < len(entry.seeds)]
        return [self.run(entry, variant, entry.seeds[place]) for entry, place in places for variant in entry.variants]

    def run(self, entry, variant, seed) -> PlannedRun:
        """One run of an entry."""
        name = entry.run_name(variant, seed)
        fields = {**entry.fields, **entry.variants[variant], "seed": seed, "name": name}
        return PlannedRun(name, entry.name, variant, seed, self.base.replace(**fields))

    def with_base(self, **overrides) -> "Plan":
        """The plan with fields of the base changed, for all entries alike; values may be text, as flags are."""
        for name in overrides:
            check_base_field(f"plan {self.name}", name)
        return dataclasses.replace(self, base=self.base.replace(**overrides))

    def to_json(self) -> dict:
        """As a plan file has it, with every field of the base, so that a preset may change and this does not."""
        fields = dataclasses.asdict(self.base)
        return {
            "name": self.name, "title": self.title, "about": self.about,
            "attribution": self.attribution,
            "base": {name: value for name, value in fields.items() if name not in ("name", "seed")},
            "published": self.published,
            "entries": [
                {"name": entry.name, "label": entry.label, "role": entry.role, "fields": entry.fields,
                 "seeds": list(entry.seeds),
                 **({"by_num_samples": {str(variant): fields for variant, fields in entry.variants.items()}}
                    if entry.variants != {SAMPLE_COUNTS[-1]: {}} else {})}
                for entry in self.entries
            ],
        }


def check_base_field(where, name) -> None:
    """Raises a `ValueError` where the base would set what is an entry's own."""
    if name in ("name", "seed"):
        raise ValueError(f"{where}: base sets {name}. Names and seeds are an entry's own: name and seeds.")
