"""The LiteRT combiner that the browser runs: made from a SavedModel for each size, or taken from files."""

import functools
import os
import threading
from pathlib import Path

from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export.exported import ExportedModel


class ConvertedCombiner:
    """Converts a model's combiner when an image of a new size comes.

    Args:
        exported: the model.
    """

    def __init__(self, exported: ExportedModel):
        self._of_size = functools.lru_cache(maxsize=16)(lambda size: self._convert(exported, size))
        self._one_at_a_time = threading.Lock()  # a conversion redirects the process's standard error

    def of_size(self, size: tuple[int, int]) -> TfliteFile:
        """The file for images of that height and width."""
        with self._one_at_a_time:
            return self._of_size(tuple(size))

    @staticmethod
    def _convert(exported, size):
        from tf_probunet.export.litert import convert_combiner

        return TfliteFile(convert_combiner(exported, size, 1))


class GivenCombiner:
    """Files that `probunet convert` wrote.

    Args:
        path: a .tflite file, or a folder of them; in a folder, those in float32 and for few samples come first.
    Raises:
        OSError: no such file, or none in the folder. ValueError: a file is damaged, or no combiner.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        paths = sorted(self.path.rglob("*.tflite")) if self.path.is_dir() else [self.path]
        if not paths or not paths[0].is_file():
            what = "holds no .tflite file" if self.path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}. Expected a combiner that `probunet convert` wrote.")
        files = [TfliteFile(path) for path in paths]
        self._files = sorted(filter(is_combiner, files), key=_rank)
        if not self._files:
            found = ", ".join(f"{name} {list(shape)}" for name, shape in files[0].inputs.items()) or "none"
            raise ValueError(f"{paths[0]} is no combiner: its inputs are {found}; expected features [1, H, W, F] and "
                             "latents [M, 1, 1, N]. Give a combiner that `probunet convert` wrote.")

    def of_size(self, size: tuple[int, int]) -> TfliteFile:
        """The file for images of that height and width; the first one where none fits, for the page to say so."""
        return next((file for file in self._files if file.inputs["features"][1:3] == tuple(size)), self._files[0])


def is_combiner(file: TfliteFile) -> bool:
    """Whether a file takes features and latents as the page gives them."""
    return set(file.inputs) == {"features", "latents"} and all(len(shape) == 4 for shape in file.inputs.values())


def precision(file: TfliteFile) -> str:
    """Of the file's weights; float32 where it does not say."""
    return (file.metadata or {}).get("precision", "float32")


def _rank(file):
    return precision(file) != "float32", file.inputs["latents"][0]
