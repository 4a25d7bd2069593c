"""`models.config`: which models TensorFlow Serving serves, and which version each label names.

The file lies beside the models, SAVED_MODELS/models.config, a `ModelServerConfig` in protobuf's text format. Every
version in a model's folder is served (`model_version_policy { all {} }`): a label may then move to any of them at once,
where TensorFlow Serving would refuse one for a version that it has not loaded. Which versions are there is bounded by
deleting old ones.
"""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tf_probunet.alone import alone
from tf_probunet.staging import replace_file

NAME = "models.config"
BASE_PATH = "/models"  # where the image tensorflow/serving looks


def read_config(saved_models: str | os.PathLike) -> ModelServerConfig:
    """The configuration beside the models; an empty one where there is none.

    Raises:
        ValueError: the file is not what TensorFlow Serving reads.
    """
    path = Path(saved_models) / NAME
    if not path.is_file():
        return ModelServerConfig()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no ModelServerConfig in protobuf's text format: {error}. Mend it, or remove it and set the "
            "labels again."
        ) from error


def labels_of(config: ModelServerConfig, model: str) -> dict[str, int]:
    """The version that each label of a model names."""
    entry = _entry(config, model)
    return {} if entry is None else dict(entry.version_labels)


def _entry(config, model):
    return next((entry for entry in config.model_config_list.config if entry.name == model), None)


@contextlib.contextmanager
def changing(saved_models: str | os.PathLike) -> Iterator[ModelServerConfig]:
    """The configuration, to be changed within the block and then written whole; other processes wait meanwhile."""
    saved_models = Path(saved_models)
    with alone(saved_models):
        config = read_config(saved_models)
        yield config
        with replace_file(saved_models / NAME) as file:
            file.write(text_format.MessageToString(config))


def set_label(config: ModelServerConfig, model: str, label: str, version: int, numbers: Iterable[int],
              base_path: str | None = None) -> None:
    """Lets a label of a model name a version.

    Args:
        config: changed in place; other models, labels and settings stay as they are.
        model: name of its folder.
        label: such as "stable" or "canary".
        version: number of a version that is there.
        numbers: of all versions that are there.
        base_path: folder of all models as the server sees it, for a model that is not in the configuration yet;
            `BASE_PATH` if not given.
    Raises:
        ValueError: the model's `model_version_policy` leaves the version out, so that no server would answer.
    """
    entry = _entry(config, model)
    if entry is None:
        entry = config.model_config_list.config.add(
            name=model, base_path=f"{(base_path or BASE_PATH).rstrip('/')}/{model}", model_platform="tensorflow"
        )
        entry.model_version_policy.all.SetInParent()
    allowed, count = by_policy(numbers, entry.model_version_policy)
    served = [number for place, number in enumerate(allowed) if place < count]
    if version not in served:
        policy = text_format.MessageToString(entry.model_version_policy, as_one_line=True).strip()
        raise ValueError(
            f"Label {label} cannot name version {version} of {model}, for by its model_version_policy in {NAME} "
            f"({policy or 'none: the newest alone'}) only {', '.join(map(str, served)) or 'nothing'} is served. Set "
            "model_version_policy { all {} } there."
        )
    entry.version_labels[label] = version


def by_policy(numbers, policy) -> tuple[list[int], float]:
    """The versions that a `ServableVersionPolicy` allows, the newest first, and how many of them are to be served.

    Of the newest, those that are refused do not count: TensorFlow Serving would serve none where the newest is broken.
    """
    numbers = sorted(numbers, reverse=True)
    if policy is not None and policy.HasField("all"):
        return numbers, math.inf
    if policy is not None and policy.HasField("specific"):
        return [number for number in numbers if number in policy.specific.versions], math.inf
    return numbers, (policy.latest.num_versions if policy is not None else 0) or 1
