"""One flat frozen record of everything that decides a training run, with its defaults, flags and file."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path

from tf_probunet.staging import replace_file
from tf_probunet.suggest import unknown

FILE_NAME = "experiment.json"
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
SCHEDULES = ("piecewise", "cosine")
INJECTIONS = ("end", "start")
NORMALIZATIONS = ("none", "instance", "filter_response")
_EVERY = ("num_classes", "image_channels", "channels", "num_convs", "combiner_channels", "upsampling",
          "normalization", "initializer", "image_mean", "image_stddev", "weight_decay", "class_weights", "seed")
_LATENT = ("latent_dim", "segmentation_encoding", "log_sigma_clip", "beta", "beta_warmup_steps",
           "num_posterior_samples", "topk_fraction", "geco_kappa", "geco_decay", "geco_rate")
# Models by name, and the fields that are arguments of each; a table, so that flags are known without TensorFlow.
MODEL_FIELDS = {
    "probabilistic_unet": (*_EVERY, *_LATENT, "fixed_prior", "posterior_sees_image", "latent_injection"),
    "deterministic_unet": _EVERY,
    "dropout_unet": (*_EVERY, "dropout_rate"),
    "unet_ensemble": (*_EVERY, "num_members"),
    "mheads_unet": (*_EVERY, "num_heads", "head_epsilon"),
    "image2image_vae": (*_EVERY, *_LATENT),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a training run; defaults are the paper's for LIDC-IDRI (appendix H.1).

    `window` is in the dataset's units, Hounsfield units for CT: the values that the network sees as 0 and as 1; None
    takes the dataset's own. Model fields are arguments of the classes in `tf_probunet.models`: `model` says which class,
    and `MODEL_FIELDS` which fields it takes; it ignores the others. The paper's `latent_dim` and `beta` for
    "image2image_vae" are 3 and 10. Of a "unet_ensemble", member i has `steps`, and `seed * num_members + i` for a seed.
    Augmentation fields are those of `tf_probunet.data.augment.Augmentation`. With several `crop_scales` each training
    batch draws one factor on `crop_size` and has `batch_size` images or, of larger crops, as many as have no more
    pixels; validation has `crop_size`.

    `precision` "auto" is mixed_bfloat16 where the processor or the GPU multiplies in it, else float32; a run keeps what
    it started with. A loss that is NaN or infinite sends a run back to its last checkpoint at half the learning rate,
    up to `nonfinite_retries` times; after that, or with 0, it stops.
    """

    name: str = "custom"
    # Model
    model: str = "probabilistic_unet"
    num_classes: int = 2
    image_channels: int = 1
    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    num_convs: int = 3
    latent_dim: int = 6
    combiner_channels: tuple[int, ...] = (32, 32)
    segmentation_encoding: str = "foreground"
    upsampling: str = "bilinear"
    normalization: str = "none"
    initializer: str = "orthogonal"
    log_sigma_clip: float | None = None
    image_mean: float = 0.0
    image_stddev: float = 1.0
    fixed_prior: bool = False
    posterior_sees_image: bool = True
    latent_injection: str = "end"
    dropout_rate: float = 0.5
    num_members: int = 16
    num_heads: int = 16
    # Objective
    beta: float = 1.0
    beta_warmup_steps: int = 0
    num_posterior_samples: int = 1
    topk_fraction: float | None = None
    geco_kappa: float | None = None
    geco_decay: float = 0.99
    geco_rate: float = 0.01
    weight_decay: float = 1e-5
    class_weights: tuple[float, ...] = ()
    head_epsilon: float = 0.05
    # Data
    window: tuple[float, float] | None = None
    crop_size: tuple[int, int] = (128, 128)
    crop_scales: tuple[float, ...] = (1.0,)
    batch_size: int = 32
    rotation: float = 0.0
    mirror: bool = False
    mirror_vertical: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float | None = None
    elastic: float = 0.0
    elastic_sigma: float = 30.0
    gamma: tuple[float, float] = (1.0, 1.0)
    gamma_probability: float = 0.0
    # Optimisation
    steps: int = 240_000
    learning_rate: float = 1e-4
    schedule: str = "piecewise"
    schedule_boundaries: tuple[int, ...] = ()
    schedule_values: tuple[float, ...] = ()
    warmup_steps: int = 0
    clipnorm: float | None = None
    ema_momentum: float | None = None
    accumulation_steps: int = 1
    precision: str = "auto"
    seed: int = 0
    nonfinite_retries: int = 0
    # Validation, every `steps_per_epoch` steps
    steps_per_epoch: int = 1000
    validation_images: int = 64
    validation_samples: int = 16

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _convert(field.name, getattr(self, field.name), hints[field.name]))
        if self.model not in MODEL_FIELDS:
            raise ValueError(unknown("model", self.model, MODEL_FIELDS))
        for field, allowed in (("precision", PRECISIONS), ("schedule", SCHEDULES), ("latent_injection", INJECTIONS),
                               ("normalization", NORMALIZATIONS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {', '.join(allowed)}. Received: {getattr(self, field)!r}.")
        if len(self.schedule_boundaries) != len(self.schedule_values):
            raise ValueError(
                f"schedule_boundaries and schedule_values go in pairs: from each step on, that rate. Received: "
                f"{len(self.schedule_boundaries)} and {len(self.schedule_values)}."
            )
        for field in ("steps", "steps_per_epoch", "batch_size", "validation_images", "validation_samples",
                      "num_members", "num_heads", "num_posterior_samples", "accumulation_steps"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1. Received: {getattr(self, field)}.")
        for field in ("warmup_steps", "beta_warmup_steps", "nonfinite_retries"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0. Received: {getattr(self, field)}.")
        if self.ema_momentum is not None and not 0 <= self.ema_momentum < 1:
            raise ValueError(f"ema_momentum must be at least 0 and below 1, or none. Received: {self.ema_momentum}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be at least 0 and below 2**32. Received: {self.seed}.")
        for field in ("scale", "gamma"):
            low, high = getattr(self, field)
            if not 0 < low <= high:
                raise ValueError(f"{field} must be two numbers with 0 < smallest <= largest. Received: {low}, {high}.")
        for field, least in (("elastic", 0), ("elastic_sigma", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} must be at least {least}. Received: {getattr(self, field)}.")

    @property
    def num_epochs(self) -> int:
        """Validations in a run; an epoch here is `steps_per_epoch` steps, not a pass over the data."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def crops(self) -> list[tuple[tuple[int, int], int]]:
        """((height, width), images in a batch) for each of the `crop_scales`."""
        from tf_probunet.data.crop_scales import scaled_crops  # here, so that flags are known without TensorFlow

        return scaled_crops(self.crop_size, self.batch_size, self.crop_scales)

    @property
    def augmentation(self):
        """The fields of `tf_probunet.data.augment.Augmentation`, as one."""
        from tf_probunet.data.augment import Augmentation  # here, so that flags are known without TensorFlow

        return Augmentation(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Augmentation)})

    def model_arguments(self) -> dict:
        """Constructor arguments of the model, those fields that its class takes."""
        return {name: getattr(self, name) for name in MODEL_FIELDS[self.model]}

    def replace(self, **overrides) -> "Experiment":
        """A copy with some fields changed; an unknown field is a `ValueError` that names the near ones.

        Values may be text, as flags are: "5e-4", "24,48,96", "none", "true".
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in overrides:
            if name not in known:
                raise ValueError(unknown("Experiment field", name, known))
        return dataclasses.replace(self, **overrides)

    def save(self, folder) -> None:
        """Writes `experiment.json` into a run folder."""
        with replace_file(Path(folder) / FILE_NAME) as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
            file.write("\n")

    @classmethod
    def load(cls, folder) -> "Experiment":
        """Reads `experiment.json` from a run folder.

        Raises:
            FileNotFoundError: the folder is no run.
            ValueError: the file is damaged, or of a version with other fields.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise FileNotFoundError(
                f"Not a run: {folder} has no {FILE_NAME}. Expected a folder that `probunet train --run` made."
            )
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(fields, dict):
                raise ValueError(f"Expected an object with the fields of an experiment. Received: {str(fields)[:80]}")
            return cls().replace(**fields)
        except (RecursionError, ValueError) as error:  # bad JSON is a ValueError
            raise ValueError(
                f"{path} cannot be used: {error} Take the file from a copy of the run, or train again."
            ) from error

    def differences(self, other: "Experiment") -> list[str]:
        """One line for each field in which two experiments differ; precision "auto" may be either of the others."""
        return [
            f"{field.name}: {getattr(self, field.name)!r} here, {getattr(other, field.name)!r} there"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
            and not (field.name == "precision" and "auto" in (self.precision, other.precision))
        ]


def _convert(name, value, hint):
    """`value`, perhaps text or a JSON list, as the annotated type; a `ValueError` names the field."""
    try:
        return _as_type(value, hint)
    except (OverflowError, TypeError, ValueError) as error:
        expected = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
        raise ValueError(f"Field {name} must be {expected}. Received: {value!r}.") from error


def _as_type(value, hint):
    if isinstance(hint, types.UnionType):  # "float | None" is the only kind of union here
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        return None if value is None or str(value).lower() == "none" else _as_type(value, inner)
    if typing.get_origin(hint) is tuple:
        items = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
        if isinstance(value, str) and not items[-1]:  # "" has no items, and "24," one, as in Python
            items.pop()
        args = typing.get_args(hint)
        if args[-1] is Ellipsis:
            return tuple(_as_type(item, args[0]) for item in items)
        if len(items) != len(args):
            raise ValueError(f"{len(args)} values")
        return tuple(_as_type(item, arg) for item, arg in zip(items, args, strict=True))
    if hint is bool:
        text = str(value).lower()
        if text not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text in ("true", "1")
    if isinstance(value, bool) or (hint is str and not isinstance(value, str)):
        raise ValueError(value)
    converted = hint(value)
    if (hint is int and isinstance(value, float) and value != converted) or (
        hint is float and not math.isfinite(converted)
    ):
        raise ValueError(value)
    return converted
