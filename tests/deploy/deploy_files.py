"""Reading what lies in deploy/ as those read it who use it: docker compose, kustomize, Kubernetes."""

import re
from pathlib import Path

import yaml
from google.protobuf import text_format

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SAVED_MODELS = ROOT / "saved_models"


def parse(path, message_class):
    """A message in protobuf's text format."""
    return text_format.Parse(path.read_text(encoding="utf-8"), message_class())


def documents(path):
    """All YAML documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]


def document(path):
    """The one YAML document of a file."""
    (found,) = documents(path)
    return found


def interpolated(value, environment):
    """What docker compose makes of ${NAME:-default} and ${NAME:+where set}."""
    if isinstance(value, dict):
        return {key: interpolated(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match):
        given = environment.get(match["name"], "")
        if match["how"] == ":-":
            return given or match["word"]
        return match["word"] if given else ""

    value = re.sub(r"\$\{(?P<name>\w+)(?P<how>:[-+])(?P<word>[^}]*)\}", replace, value)
    assert not re.search(r"\$\{|\$\w", value), f"compose would interpolate {value!r} otherwise"
    return value


def flags(arguments):
    """--name=value of a command line."""
    pairs = [argument.removeprefix("--").split("=", 1) for argument in arguments if argument.startswith("--")]
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a flag is given twice: {sorted(names)}"
    return dict(pairs)


def mount_of(path, mounts):
    """The innermost mount that a path lies in, None outside of all."""
    inside = [mount for mount in mounts if Path(path).is_relative_to(mount)]
    return max(inside, key=len, default=None)
