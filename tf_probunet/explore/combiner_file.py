"""The LiteRT combiner that the browser runs: made from a SavedModel for each size, or taken from files."""

import dataclasses
import functools
import json
import os
from pathlib import Path

from tf_probunet.export.exported import ExportedModel

METADATA = b"tf_probunet"  # name of the buffer in which `probunet convert` says what a file was made from


@dataclasses.dataclass(frozen=True)
class CombinerFile:
    """A file and what it says of itself.

    Attributes:
        content: its bytes.
        features: shape of that input, [1, H, W, F].
        fingerprint: of the version that it was made from; None where the file does not say.
    """

    content: bytes
    features: tuple[int, ...]
    fingerprint: str | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.features[1:3]


class ConvertedCombiner:
    """Converts a model's combiner when an image of a new size comes.

    Args:
        exported: the model.
    """

    def __init__(self, exported: ExportedModel):
        self._of_size = functools.lru_cache(maxsize=16)(lambda size: self._convert(exported, size))

    def of_size(self, size: tuple[int, int]) -> CombinerFile:
        """The file for images of that height and width."""
        return self._of_size(tuple(size))

    @staticmethod
    def _convert(exported, size):
        from tf_probunet.export.litert import convert_combiner

        return read_combiner(convert_combiner(exported, size, 1), str(exported.folder))


class GivenCombiner:
    """Files that `probunet convert` wrote.

    Args:
        path: a .tflite file, or a folder of them.
    Raises:
        OSError: no such file, or none in the folder. ValueError: one of them is no combiner.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        files = sorted(self.path.rglob("*.tflite")) if self.path.is_dir() else [self.path]
        if not files or not files[0].is_file():
            what = "holds no .tflite file" if self.path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}. Expected a combiner that `probunet convert` wrote.")
        self._files = [read_combiner(file.read_bytes(), str(file)) for file in files]

    def of_size(self, size: tuple[int, int]) -> CombinerFile:
        """The file for images of that height and width; the first one where none fits, for the page to say so."""
        return next((file for file in self._files if file.size == tuple(size)), self._files[0])


def read_combiner(content: bytes, name: str) -> CombinerFile:
    """Reads what a LiteRT file says of itself, without running it.

    Args:
        content: the file.
        name: of it, for errors.
    Raises:
        ValueError: it is no LiteRT file, or one of another kind.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    complaint = f"{name} is no combiner of `probunet convert`"
    if content[4:8] != b"TFL3":
        raise ValueError(f"{complaint}: it is no LiteRT file. Convert the model anew.")
    try:
        model = schema.Model.GetRootAs(content)
        inputs = {
            mapping.Name(): tuple(model.Subgraphs(signature.SubgraphIndex()).Tensors(mapping.TensorIndex())
                                  .ShapeAsNumpy().tolist())
            for signature in map(model.SignatureDefs, range(model.SignatureDefsLength()))
            for mapping in map(signature.Inputs, range(signature.InputsLength()))
        }
        told = [model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
                for entry in map(model.Metadata, range(model.MetadataLength())) if entry.Name() == METADATA]
        facts = json.loads(told[0]) if told else {}
    except Exception as error:  # flatbuffers reads where a damaged file points to, and fails in many ways
        raise ValueError(f"{complaint}: it is damaged ({type(error).__name__}). Copy it again.") from error
    if set(inputs) != {b"features", b"latents"} or len(inputs[b"features"]) != 4 or len(inputs[b"latents"]) != 4:
        found = ", ".join(f"{key.decode()} {list(shape)}" for key, shape in inputs.items()) or "none"
        raise ValueError(f"{complaint}: its inputs are {found}; expected features [1, H, W, F] and latents "
                         "[M, 1, 1, N].")
    return CombinerFile(content, inputs[b"features"], facts.get("saved_model_sha256"))
