"""`models.config`: which models TensorFlow Serving serves, and which version each label names.

The file lies beside the models, SAVED_MODELS/models.config, a `ModelServerConfig` in protobuf's text format. Every
version in a model's folder is served (`model_version_policy { all {} }`): a label may then move to any of them at once,
where TensorFlow Serving would refuse one for a version that it has not loaded. Which versions are there is bounded by
deleting old ones.
"""

import contextlib
import os
from collections.abc import Iterator
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
    return next((dict(entry.version_labels) for entry in config.model_config_list.config if entry.name == model), {})


@contextlib.contextmanager
def changing(saved_models: str | os.PathLike) -> Iterator[ModelServerConfig]:
    """The configuration, to be changed within the block and then written whole; other processes wait meanwhile."""
    saved_models = Path(saved_models)
    with alone(saved_models):
        config = read_config(saved_models)
        yield config
        with replace_file(saved_models / NAME) as file:
            file.write(text_format.MessageToString(config))


def set_label(config: ModelServerConfig, model: str, label: str, version: int, base_path: str | None = None) -> None:
    """Lets a label of a model name a version.

    Args:
        config: changed in place; other models, labels and settings stay as they are.
        model: name of its folder.
        label: such as "stable" or "canary".
        version: number of a version that is there.
        base_path: folder of all models as the server sees it, for a model that is not in the configuration yet;
            `BASE_PATH` if not given.
    """
    entry = next((entry for entry in config.model_config_list.config if entry.name == model), None)
    if entry is None:
        entry = config.model_config_list.config.add(
            name=model, base_path=f"{(base_path or BASE_PATH).rstrip('/')}/{model}", model_platform="tensorflow"
        )
        entry.model_version_policy.all.SetInParent()
    entry.version_labels[label] = version
