"""What a server says of a version that it serves: its number, and the inputs and outputs of its signatures."""

import dataclasses

import numpy as np

from tf_probunet.serving.errors import ServingError


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A tensor of a signature: its numpy dtype, and its shape with None for what is free."""

    dtype: np.dtype
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one function, by name."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """A served version.

    Attributes:
        version: its number.
        signatures: what it can be asked, by name.
    """

    version: int
    signatures: dict[str, Signature]

    def signature(self, name: str) -> Signature:
        """One of the signatures.

        Raises:
            ServingError: FAILED_PRECONDITION, there is none of that name.
        """
        if name not in self.signatures:
            known = ", ".join(sorted(self.signatures)) or "none"
            raise ServingError(
                f"Version {self.version} has no signature {name!r}. It has: {known}. Serve a model that `probunet "
                "export` wrote.", "FAILED_PRECONDITION"
            )
        return self.signatures[name]

    @property
    def image_channels(self) -> int:
        """C."""
        return self._last_dimension("inputs", "images")

    @property
    def latent_dim(self) -> int:
        """N."""
        return self._last_dimension("inputs", "noise")

    @property
    def num_classes(self) -> int:
        """K."""
        return self._last_dimension("outputs", "probabilities")

    def _last_dimension(self, side, tensor):
        info = getattr(self.signature("serving_default"), side).get(tensor)
        if info is None or not info.shape or info.shape[-1] is None:
            raise ServingError(
                f"Signature serving_default of version {self.version} has no {side[:-1]} {tensor} whose last dimension "
                "is known. Serve a model that `probunet export` wrote.", "FAILED_PRECONDITION"
            )
        return info.shape[-1]


def metadata_from(version: int, signature_defs) -> ModelMetadata:
    """Reads TensorFlow's description of signatures.

    Args:
        version: number of the version.
        signature_defs: `tensorflow.SignatureDef` messages by name.
    """
    return ModelMetadata(version, {
        name: Signature(_tensors(definition.inputs), _tensors(definition.outputs))
        for name, definition in signature_defs.items()
        if definition.method_name  # what initialises a model is listed too, but is no function to call
    })


def _tensors(infos):
    from tensorflow.dtypes import as_dtype  # late: seconds

    return {
        name: TensorInfo(np.dtype(as_dtype(info.dtype).as_numpy_dtype),
                         tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim))
        for name, info in infos.items()
    }
