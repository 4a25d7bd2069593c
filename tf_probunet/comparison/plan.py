"""What a comparison consists of: a JSON file of models, what they share, what each changes, and its seeds.

```
{"name": "mine", "title": "My data", "base": {"preset": "lidc_small", "steps": 3000}, "published": "lidc", "entries": [
  {"name": "probabilistic", "label": "Probabilistic U-Net", "role": "reference", "seeds": [0, 1]},
  {"name": "dropout", "label": "Dropout U-Net", "role": "baseline", "fields": {"model": "dropout_unet"}},
  {"name": "mheads", "label": "M-Heads", "role": "baseline", "fields": {"model": "mheads_unet"},
   "by_num_samples": {"4": {"num_heads": 4}, "8": {"num_heads": 8}, "16": {"num_heads": 16}}}]}
```

`base` is shared by all: a preset, if named, and any fields of an experiment. `fields` are an entry's own. A model that
is made for a number of samples has variants by that number; at n samples the smallest that has as many is used.
"""

import json
import os
import re
from pathlib import Path

from tf_probunet.comparison.entries import ROLES, SAMPLE_COUNTS, Entry, Plan, check_base_field
from tf_probunet.comparison.published import TABLES
from tf_probunet.experiment import Experiment
from tf_probunet.presets import preset
from tf_probunet.suggest import unknown

FOLDER = Path(__file__).parents[1] / "plans"
PLAN_FIELDS = ("name", "title", "about", "attribution", "base", "published", "entries")
ENTRY_FIELDS = ("name", "label", "role", "fields", "seeds", "by_num_samples")
# What decides data, schedule and selection of the best weights is one for all, or models would not be compared.
SHARED_FIELDS = (
    "num_classes", "image_channels", "window", "crop_size", "crop_scales", "batch_size", "rotation", "mirror",
    "mirror_vertical", "scale", "shear", "shift", "elastic", "elastic_sigma", "gamma", "gamma_probability",
    "class_weights", "steps",
    "learning_rate", "schedule", "schedule_boundaries", "schedule_values", "warmup_steps", "clipnorm",
    "ema_momentum", "accumulation_steps", "precision", "nonfinite_retries", "steps_per_epoch", "validation_images",
    "validation_samples",
)


def named_plans() -> list[str]:
    """The names of the plans that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_plan(name_or_file: str | os.PathLike) -> Plan:
    """Reads a plan that ships with the package, or a file.

    Raises:
        FileNotFoundError: no such file, and no plan of that name.
        ValueError: what is wrong with the plan, and where.

    Example:
        >>> plan = load_plan("lidc_comparison")
        >>> plan.reference.label, plan.reference.run_name(16, seed=0)
        ('Probabilistic U-Net', 'probabilistic_unet-seed0')
    """
    path = Path(name_or_file)
    if str(name_or_file) in named_plans():
        path = FOLDER / f"{name_or_file}.json"
    elif not path.is_file():
        near = unknown("plan", str(name_or_file), named_plans())
        raise FileNotFoundError(f"{near} Give one of these names, or a JSON file that exists.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"The plan {path} is not valid JSON: {error}. Look at the plans in {FOLDER}.") from error
    return parse_plan(content, f"plan {path.stem}")


def parse_plan(content, where="plan") -> Plan:
    """A plan out of the content of its file, every field of every run checked.

    Args:
        content: what the JSON file holds.
        where: what errors call it.
    Raises:
        ValueError: a field is unknown, missing, or of a wrong kind; names come twice; there is not one reference.
    """
    _check_fields(where, content, PLAN_FIELDS, needed=("name", "base", "entries"))
    base, entries = content["base"], content["entries"]
    if not isinstance(base, dict):
        raise ValueError(f"{where}: base must hold fields of an experiment, such as {{\"preset\": \"lidc_small\"}}. "
                         f"Received: {base!r}.")
    base = dict(base)
    start = preset(_text(where, {"preset": base.pop("preset")}, "preset")) if "preset" in base else Experiment()
    for name in base:
        check_base_field(where, name)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{where}: entries must be a list of at least one model. Received: {entries!r}.")
    entries = tuple(_entry(where, entry) for entry in entries)
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: entries are told apart by name, but {', '.join(twice)} comes twice.")
    references = [entry.name for entry in entries if entry.role == "reference"]
    if len(references) != 1:
        raise ValueError(f"{where}: exactly one entry must have the role reference, to which the others are compared. "
                         f"Received: {', '.join(references) or 'none'}.")
    plan = Plan(
        name=_text(where, content, "name"), title=_text(where, content, "title", content["name"]),
        about=_text(where, content, "about", ""),
        attribution=_text(where, content, "attribution", ""), base=_replace(where, start, base), entries=entries,
        published=None if content.get("published") is None else _text(where, content, "published"),
    )
    if plan.published is not None and plan.published not in TABLES:
        raise ValueError(f"{where}: {unknown('table of published figures', plan.published, TABLES)}")
    for entry in entries:
        for fields in entry.variants.values():
            _replace(f"{where}: entry {entry.name}", plan.base, {**entry.fields, **fields})
    return plan


def _entry(where, content):
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{where}: an entry must be an object with a name. Received: {content!r}.")
    name = content["name"]
    where = f"{where}: entry {name}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ValueError(f"{where}: a name is made of letters, digits and _, for it names folders. Received: {name!r}.")
    _check_fields(where, content, ENTRY_FIELDS, needed=("name", "role"))
    if content["role"] not in ROLES:
        raise ValueError(f"{where}: role must be one of {', '.join(ROLES)}. Received: {content['role']!r}.")
    seeds = content.get("seeds", [0])
    whole = isinstance(seeds, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)
    if not whole or not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"{where}: seeds must be different whole numbers of at least 0, one run each. Received: "
                         f"{seeds!r}.")
    fields = _own_fields(where, content.get("fields", {}))
    return Entry(name, _text(where, content, "label", name), content["role"], fields, tuple(seeds),
                 _variants(where, content.get("by_num_samples")))


def _variants(where, content):
    most = SAMPLE_COUNTS[-1]
    if content is None:
        return {most: {}}
    numbers = list(content) if isinstance(content, dict) else []
    if not numbers or not all(re.fullmatch("[1-9][0-9]*", number) for number in numbers):
        raise ValueError(f"{where}: by_num_samples must map numbers of samples to fields, such as "
                         f"{{\"4\": {{\"num_heads\": 4}}}}. Received: {content!r}.")
    variants = {int(number): _own_fields(f"{where}, by_num_samples {number}", content[number]) for number in numbers}
    if max(variants) != most:
        raise ValueError(f"{where}: models are compared at up to {most} samples, so the largest of by_num_samples must "
                         f"be {most}. Received: {', '.join(numbers)}.")
    return dict(sorted(variants.items()))


def _own_fields(where, fields):
    if not isinstance(fields, dict):
        raise ValueError(f"{where}: fields must hold fields of an experiment. Received: {fields!r}.")
    for name in fields:
        if name in SHARED_FIELDS:
            raise ValueError(f"{where} sets {name}, which all models of a comparison share. Set it in base.")
        if name in ("name", "seed"):
            raise ValueError(f"{where} sets {name} in fields. Names and seeds stand beside the fields: name and seeds.")
    return dict(fields)


def _check_fields(where, content, known, needed):
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be an object with the fields {', '.join(known)}. Received: {content!r}.")
    for name in content:
        if name not in known:
            raise ValueError(f"{where}: {unknown('field', name, known)}")
    missing = [name for name in needed if name not in content]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}. Fields: {', '.join(known)}.")


def _text(where, content, name, default=None):
    value = content.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name} must be text. Received: {value!r}.")
    return value


def _replace(where, experiment, fields):
    try:
        return experiment.replace(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
