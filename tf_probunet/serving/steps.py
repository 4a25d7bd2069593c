"""The steps of a conversation with a server: what is asked, what is computed here, what is handed to the caller.

A conversation is a generator that yields steps and is sent their results. It neither waits nor knows gRPC, REST or
asyncio, so that `Client` and `AsyncClient` hold the same one over any transport.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from tf_probunet.serving.model_metadata import Signature


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Which model is meant: by name, and by a version's number, by a label, or by neither for the newest."""

    name: str
    version: int | None = None
    label: str | None = None

    def of_version(self, version: int) -> "ModelSpec":
        """Exactly that version of the model."""
        return ModelSpec(self.name, version)

    def __str__(self):
        which = f" version {self.version}" if self.version is not None else f" {self.label}" if self.label else ""
        return f"{self.name}{which}"


@dataclasses.dataclass(frozen=True)
class Predict:
    """Runs a signature on arrays; answered with a `Prediction`."""

    spec: ModelSpec
    signature_name: str
    inputs: dict[str, np.ndarray]
    signature: Signature


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Arrays by name, and the version that made them, where the server says so (REST does not)."""

    outputs: dict[str, np.ndarray]
    version: int | None


@dataclasses.dataclass(frozen=True)
class GetMetadata:
    """Asks for a version's signatures; answered with `ModelMetadata`."""

    spec: ModelSpec


@dataclasses.dataclass(frozen=True)
class GetStatus:
    """Asks for all versions of a model; answered with their states by number."""

    spec: ModelSpec


@dataclasses.dataclass(frozen=True)
class Compute:
    """Calls a function here; answered with what it returns."""

    function: Callable
    arguments: tuple


@dataclasses.dataclass(frozen=True)
class Emit:
    """Hands a value to the caller; answered with None."""

    value: object
