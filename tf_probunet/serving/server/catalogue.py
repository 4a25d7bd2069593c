"""Which versions of which models are served: follows a folder of models and its models.config as they change.

As in TensorFlow Serving, each model's newest version is served unless models.config says otherwise; a version is
loaded, checked and warmed before it takes traffic, and the one that it replaces serves until then.
"""

import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.serving.model_config import by_policy, read_config
from tf_probunet.serving.server.loaded_version import LoadedVersion
from tf_probunet.serving.server.refusal import Refusal

LOADING, AVAILABLE, END = ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE, ModelVersionStatus.END


@dataclasses.dataclass(frozen=True)
class State:
    """Where a version stands.

    Args:
        state: number of a `ModelVersionStatus.State`.
        error: why it is refused; "" where it is not.
        fingerprint: of its files when that was decided; a refused version is tried again only when they change.
        version: what answers requests, where it is available.
    """

    state: int
    error: str = ""
    fingerprint: tuple = ()
    version: LoadedVersion | None = None


class Catalogue:
    """The versions that are served, kept as the folder says by a thread of its own.

    Args:
        saved_models: folder of all models; every NAME/ with a version in it is one.
        load: (model, number, folder) to a `LoadedVersion`.
        logger: is told what comes, goes and is refused.
    """

    def __init__(self, saved_models: str | os.PathLike, load: Callable = LoadedVersion,
                 logger=logging.getLogger(__name__)):
        self.saved_models, self.load, self.logger = Path(saved_models), load, logger
        self.states: dict[tuple[str, int], State] = {}  # replaced whole, so that readers need no lock
        self.labels: dict[str, dict[str, int]] = {}
        self._config_error = ""
        self._config = None
        self._stopped = threading.Event()

    def refresh(self) -> None:
        """Brings what is loaded to what the folder says now; returns when that is done."""
        config = self._read_config()
        candidates = self._candidates(config)
        wanted, answered = set(), set()
        for model, (numbers, count) in candidates.items():
            for number in numbers:
                wanted.add((model, number))
                if self._bring(model, number):
                    answered.add(model)
                    count -= 1
                    if not count:
                        break
        self.labels = {entry.name: self._labels(entry) for entry in config.model_config_list.config}
        for key, state in list(self.states.items()):
            # What is to go serves on while nothing of its model can take its place, unless all of it has gone.
            needed = state.state == AVAILABLE and key[0] in candidates and key[0] not in answered
            if key not in wanted and not needed:
                self._set(key, None)
                self.logger.info("unloaded", extra={"model": key[0], "version": key[1]})

    def watch(self, seconds: float) -> threading.Thread:
        """Refreshes every so many seconds, in a thread that ends with `stop`."""
        thread = threading.Thread(target=self._watch, args=(seconds,), name="catalogue", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends the thread of `watch`."""
        self._stopped.set()

    def find(self, model: str, number: int | None = None, label: str | None = None) -> LoadedVersion:
        """The version that answers a request: by number, by label, or the newest that is available.

        Raises:
            Refusal: NOT_FOUND for a model or version that is not available, INVALID_ARGUMENT for an unknown label,
                the codes that TensorFlow Serving gives.
        """
        if not model:
            raise Refusal("INVALID_ARGUMENT", "The request names no model: model_spec.name is empty.")
        available = {at: state.version for (name, at), state in self.states.items()
                     if name == model and state.state == AVAILABLE}
        if label is not None:
            labels = self.labels.get(model, {})
            if label not in labels:
                raise Refusal("INVALID_ARGUMENT", f"Unrecognized servable version label: {label} of model {model}. "
                              f"Labels: {', '.join(sorted(labels)) or 'none'}.")
            number = labels[label]
        if number is None and available:
            return available[max(available)]
        if number in available:
            return available[number]
        which = f"version {number}" if number is not None else "any version"
        raise Refusal("NOT_FOUND", f"Servable not found for request: could not find {which} of model {model}. "
                      f"{self._what_there_is(model, available)}")

    def status(self, model: str, number: int | None = None, label: str | None = None) -> dict[int, State]:
        """States by version, the newest first.

        Raises:
            Refusal: as `find`.
        """
        if not model:
            raise Refusal("INVALID_ARGUMENT", "The request names no model: model_spec.name is empty.")
        if label is not None:
            number = self.find(model, label=label).number
        found = {at: state for (name, at), state in self.states.items() if name == model and number in (None, at)}
        if not found:
            which = "any versions" if number is None else f"version {number}"
            raise Refusal("NOT_FOUND", f"Could not find {which} of model {model}. {self._what_there_is(model, ())}")
        return dict(sorted(found.items(), reverse=True))

    def models(self) -> list[str]:
        """Names of models with a version that answers."""
        return sorted({model for (model, _), state in self.states.items() if state.state == AVAILABLE})

    def _what_there_is(self, model, available):
        if available:
            return f"Available: {', '.join(map(str, sorted(available)))}."
        return f"Models with an available version: {', '.join(self.models()) or 'none'}."

    def _watch(self, seconds):
        while not self._stopped.wait(seconds):
            try:
                self.refresh()
            except Exception:  # noqa: BLE001  whatever it is, the versions that are loaded go on serving
                self.logger.exception("the folder of models could not be read")

    def is_coming(self, model: str, number: int | None = None, label: str | None = None) -> bool:
        """Whether a version that is not available yet will be as soon as this process has loaded it, as another may
        have done already."""
        number = self.labels.get(model, {}).get(label) if label is not None else number
        state = self.states.get((model, number))
        if number is None or (state is not None and state.state == END):
            return False
        try:
            numbers, count = self._candidates(self._read_config()).get(model, ([], 0))
        except (OSError, ValueError):  # the folder is away, or models.config was damaged from the start
            return False
        return number in numbers[: int(min(count, len(numbers)))]

    def _candidates(self, config) -> dict[str, tuple[list[int], float]]:
        """By model, the versions that may be served, the best first, and how many of them are to be."""
        policies = {entry.name: entry.model_version_policy for entry in config.model_config_list.config}
        folders = sorted(path for path in self.saved_models.iterdir() if path.is_dir() and path.name[0] != ".")
        found = {path.name: by_policy(version_numbers(path), policies.get(path.name)) for path in folders}
        return {name: chosen for name, chosen in found.items() if chosen[0]}

    def _labels(self, entry) -> dict[str, int]:
        """A model's labels; one moves when the version that it is to name answers, as in TensorFlow Serving."""
        before = self.labels.get(entry.name, {})

        def answers(number):
            state = self.states.get((entry.name, number))
            return state is not None and state.state == AVAILABLE

        return {label: before[label] if not answers(number) and answers(before.get(label)) else number
                for label, number in entry.version_labels.items()}

    def _read_config(self):
        """models.config; the last that could be read where it was damaged since."""
        try:
            self._config, self._config_error = read_config(self.saved_models), ""
        except (OSError, ValueError, DecodeError) as error:
            if str(error) != self._config_error:
                self._config_error = str(error)
                self.logger.error("models.config is not followed: %s", error)
            if self._config is None:
                raise
        return self._config

    def _bring(self, model, number) -> bool:
        """Whether the version is available, after loading it where it is not."""
        state, folder = self.states.get((model, number)), self.saved_models / model / str(number)
        if state is not None and state.state == AVAILABLE:
            return True
        fingerprint = _fingerprint(folder)
        if state is not None and state.error and state.fingerprint == fingerprint:
            return False  # refused, and nothing has changed since
        self._set((model, number), State(LOADING))
        try:
            version = self.load(model, number, folder)
        except Exception as error:  # noqa: BLE001  TensorFlow raises of every kind; the others go on serving
            self._set((model, number), State(END, f"{type(error).__name__}: {error}", fingerprint))
            self.logger.error("refused: %s", error, extra={"model": model, "version": number})
            return False
        self._set((model, number), State(AVAILABLE, version=version))
        self.logger.info("available", extra={"model": model, "version": number})
        return True

    def _set(self, key, state):
        states = dict(self.states)
        if state is None:
            states.pop(key, None)
        else:
            states[key] = state
        self.states = states


def _fingerprint(folder):
    """Changes whenever a file of a version does."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.stat()
        except OSError:  # it goes while we look
            continue
        found.append((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(found)
