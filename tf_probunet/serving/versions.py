"""The versions of exported models: which are there and whole, under which label they are served, which may go.

    SAVED_MODELS/NAME/VERSION   as `tf_probunet.export.saved_model.export` writes it
    SAVED_MODELS/models.config  labels, as TensorFlow Serving reads them
"""

import dataclasses
import os
import shutil
from pathlib import Path

from tf_probunet.export.manifest import read_manifest
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.serving.model_config import changing, labels_of, read_config, set_label
from tf_probunet.suggest import unknown


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a model on disk.

    Attributes:
        model, number: SAVED_MODELS/model/number.
        folder: where it lies.
        labels: that name it.
        manifest: what it is; empty where it cannot be read.
        problem: why it must not be served; "" where every file is as the manifest says.
    """

    model: str
    number: int
    folder: Path
    labels: tuple[str, ...]
    manifest: dict
    problem: str

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def model_names(saved_models: str | os.PathLike) -> list[str]:
    """Folders with at least one version.

    Raises:
        FileNotFoundError: there is no such folder, or no model in it.
    """
    saved_models = Path(saved_models)
    names = sorted(path.name for path in saved_models.glob("*") if path.is_dir() and version_numbers(path))
    if not names:
        what = "holds no model" if saved_models.is_dir() else "does not exist"
        inner = " It is a model itself: give the folder above it." if version_numbers(saved_models) else ""
        raise FileNotFoundError(f"{saved_models} {what}. Expected a folder with NAME/VERSION folders that `probunet "
                                f"export` wrote.{inner}")
    return names


def find_versions(saved_models: str | os.PathLike, model: str | None = None) -> list[Version]:
    """All versions of all models, or of one, every file checked against its manifest; by model, ascending.

    Raises:
        FileNotFoundError: there is no such folder, or no model in it.
        ValueError: there is no such model, or models.config cannot be read.
    """
    names = model_names(saved_models)
    if model is not None and model not in names:
        raise ValueError(unknown("model", model, names))
    config = read_config(saved_models)
    found = []
    for name in names if model is None else [model]:
        labels = labels_of(config, name)
        for number in version_numbers(Path(saved_models) / name):
            folder = Path(saved_models) / name / str(number)
            try:
                manifest, problem = read_manifest(folder), ""
            except (OSError, ValueError) as error:
                manifest, problem = {}, str(error)
            named = tuple(sorted(label for label, value in labels.items() if value == number))
            found.append(Version(name, number, folder, named, manifest, problem))
    return found


def label_version(saved_models, model: str, label: str, number: int | None = None, base_path=None) -> Version:
    """Lets a label name a version, which must be whole.

    Args:
        saved_models: folder of all models.
        model: name of the model.
        label: such as "stable" or "canary".
        number: of the version; the newest that is whole if not given.
        base_path: see `tf_probunet.serving.model_config.set_label`.
    Returns:
        the version.
    Raises:
        FileNotFoundError: no such folder or version.
        ValueError: no such model, or the version is damaged.
    """
    with changing(saved_models) as config:
        found = find_versions(saved_models, model)
        if number is None:
            chosen = _newest_whole(found, model)
        else:
            chosen = next((version for version in found if version.number == number), None)
            if chosen is None:
                raise FileNotFoundError(f"{model} has no version {number}. There are: {_listed(found)}.")
            if chosen.problem:
                raise ValueError(f"Version {number} of {model} must not be served. {chosen.problem}")
        set_label(config, model, label, chosen.number, [version.number for version in found], base_path)
    return chosen


def roll_back(saved_models, model: str, label: str) -> tuple[int, Version]:
    """Lets a label name the newest whole version before the one that it names now.

    Returns:
        the number that it named, and the version that it names now.
    Raises:
        ValueError: the label names nothing, or nothing before it is whole.
    """
    with changing(saved_models) as config:
        found = find_versions(saved_models, model)
        labels = labels_of(config, model)
        if label not in labels:
            raise ValueError(f"{unknown('label', label, labels)} Set it first: probunet versions label.")
        before = [version for version in found if version.number < labels[label]]
        if not any(not version.problem for version in before):
            raise ValueError(
                f"No version of {model} before {labels[label]}, which {label} names, is there and whole. "
                f"There are: {_listed(found)}. Copy an older one back first."
            )
        chosen = _newest_whole(before, model)
        set_label(config, model, label, chosen.number, [version.number for version in found])
    return labels[label], chosen


def delete_old(saved_models, model: str, keep: int) -> list[Version]:
    """Deletes a model's versions but the last `keep` whole ones, what is newer than those, and what a label names.

    A version goes by one rename, so that no server sees half of it.

    Returns:
        what was deleted.
    Raises:
        ValueError: `keep` is less than 1.
    """
    if keep < 1:
        raise ValueError(f"At least one version must be kept. Received: keep={keep}.")
    with changing(saved_models):  # no label moves, and nobody else deletes, meanwhile
        for left in (Path(saved_models) / model).glob(".*.deleted"):  # by a deletion that was killed
            shutil.rmtree(left)
        found = find_versions(saved_models, model)
        whole = [version.number for version in found if not version.problem]
        oldest_kept = whole[-keep:][0] if whole else 0
        old = [version for version in found if version.number < oldest_kept and not version.labels]
        for version in old:
            doomed = version.folder.with_name(f".{version.number}.deleted")
            os.rename(version.folder, doomed)
            shutil.rmtree(doomed)
    return old


def _newest_whole(found, model):
    whole = [version for version in found if not version.problem]
    if not whole:
        raise ValueError(f"No version of {model} is whole. {found[-1].problem}")
    return whole[-1]


def _listed(found):
    return ", ".join(f"{version.number}{' (damaged)' if version.problem else ''}" for version in found)
