"""What a client says to a server and makes of the answers, apart from how both travel and who waits for them."""

import copy
import dataclasses
import importlib
from collections.abc import Callable

import numpy as np

from tf_probunet.edge.noise import check_seed
from tf_probunet.serving.connection import Tls, parse_address
from tf_probunet.serving.errors import ServingError
from tf_probunet.serving.noise import noise_chunks, standard_normal
from tf_probunet.serving.retries import Retries
from tf_probunet.serving.steps import Compute, Emit, GetMetadata, GetStatus, ModelSpec, Predict

PROTOCOLS = ("grpc", "rest")
RESTARTS = 2  # of a stream that has not yielded yet, when its version goes
_MAYBE_STALE = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND")


@dataclasses.dataclass(frozen=True)
class Trunk:
    """What a model computes once an image.

    Attributes:
        features: [B, H, W, F], float32, or float16 where the model was exported so.
        prior_mean, prior_stddev: [B, N] float32.
        version: of the model that made them; only its combiner reads them.
    """

    features: np.ndarray
    prior_mean: np.ndarray
    prior_stddev: np.ndarray
    version: int

    def latents(self, noise) -> np.ndarray:
        """Latents [B, M, N] from standard-normal noise [B, M, N]."""
        return self.prior_mean[:, None] + self.prior_stddev[:, None] * np.asarray(noise, np.float32)


class Conversations:
    """Settings of a client, and its conversations; see `tf_probunet.serving.client.Client` for the arguments.

    Subclasses give `_connect()`, the transport that the settings ask for.
    """

    def __init__(self, address: str, model: str, *, version: int | None = None, label: str | None = None,
                 protocol: str = "grpc", timeout: float = 60.0, retries: int | Retries = 6, tls: Tls | None = None,
                 max_message_bytes: int = 2**30, combiner: Callable | None = None):
        parse_address(address)
        if not isinstance(model, str) or not model:
            raise ValueError(f"model is the name under which the server knows it. Received: {model!r}.")
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be 'grpc' or 'rest'. Received: {protocol!r}.")
        if version is not None and label is not None:
            raise ValueError(f"Give version or label, not both. Received: version={version}, label={label!r}.")
        if timeout <= 0 or max_message_bytes < 1:
            raise ValueError("timeout and max_message_bytes must be above 0. Received: "
                             f"{timeout}, {max_message_bytes}.")
        if combiner is not None and version is None:
            raise ValueError("A combiner of your own reads the features of one version only: give its version too.")
        self.address, self.protocol, self.timeout, self.tls = address, protocol, float(timeout), tls
        self.spec = ModelSpec(model, version, label)
        self.retries = retries if isinstance(retries, Retries) else Retries(retries)
        self.max_message_bytes, self.combiner = max_message_bytes, combiner
        self._known = None  # metadata of the last version that was asked about
        importlib.import_module("tensorflow")  # seconds, which no call's deadline should bear
        self._transport = self._connect()

    def __repr__(self):
        return f"{type(self).__name__}({self.spec} at {self.address}, {self.protocol})"

    def of_version(self, version: int):
        """A client on the same connection that asks for exactly that version; ends with this one."""
        other = copy.copy(self)
        other.spec = self.spec.of_version(version)
        return other

    def _sample(self, images, num_samples, seed):
        images, seed = _check_images(images), check_seed(seed)
        _check_count("num_samples", num_samples)

        def ask(metadata):
            _check_channels(images, metadata)
            noise = standard_normal((len(images), num_samples, metadata.latent_dim), seed)
            signature = metadata.signature("serving_default")
            return (yield Predict(self.spec, "serving_default", {"images": images, "noise": noise}, signature))

        outputs = (yield from self._knowing(ask)).outputs
        yield Emit((outputs["segmentations"], outputs["probabilities"]))

    def _stream(self, images, num_samples, seed, chunk, logits):
        images, seed = _check_images(images), check_seed(seed)
        _check_count("chunk", chunk)
        if num_samples is not None:
            _check_count("num_samples", num_samples)
        num_yielded, restarts = 0, 0
        while True:
            trunk = yield from self._ask_trunk(images)
            try:
                for noise in noise_chunks(*trunk.prior_mean.shape, num_samples, seed, chunk):
                    values = yield from self._ask_combiner(trunk, trunk.latents(noise))
                    yield Emit(values if logits else np.argmax(values, axis=-1).astype(np.uint8))
                    num_yielded += noise.shape[1]
                return
            except ServingError as error:
                if error.code != "NOT_FOUND" or self.spec.version is not None:
                    raise
                if num_yielded:
                    raise ServingError(
                        f"Version {trunk.version} of {self.spec.name} was taken from service after {num_yielded} of "
                        "its samples, and another version's would not belong to them. Start the stream again.",
                        "NOT_FOUND",
                    ) from error
                if restarts == RESTARTS:
                    raise
                restarts += 1

    def _trunk(self, images):
        yield Emit((yield from self._ask_trunk(_check_images(images))))

    def _combine(self, trunk, latents):
        latents = np.asarray(latents, np.float32)
        expected = (len(trunk.prior_mean), None, trunk.prior_mean.shape[-1])
        if latents.ndim != 3 or latents.shape[0] != expected[0] or latents.shape[2] != expected[2]:
            raise ValueError(f"Latents must have shape [{expected[0]}, M, {expected[2]}] for this trunk. Received: "
                             f"{list(latents.shape)}.")
        _check_finite("Latents", latents)
        yield Emit((yield from self._ask_combiner(trunk, latents)))

    def _status(self):
        yield Emit((yield GetStatus(self.spec)))

    def _metadata(self):
        yield Emit((yield from self._learn()))

    def _learn(self):
        self._known = yield GetMetadata(self.spec)
        return self._known

    def _knowing(self, ask, afresh=False):
        """Runs the conversation `ask(metadata)`; once more where versions were swapped since metadata was read."""
        metadata = self._known
        if metadata is None or afresh:
            metadata = yield from self._learn()
        try:
            return (yield from ask(metadata))
        except (ValueError, ServingError) as error:
            if isinstance(error, ServingError) and error.code not in _MAYBE_STALE:
                raise
            fresh = yield from self._learn()
            if fresh == metadata:
                raise
        return (yield from ask(fresh))

    def _ask_trunk(self, images):
        # A reply over REST names no version: the newest is looked up first, and then that one asked for.
        look_up = self.spec.version is None and self.protocol == "rest"

        def ask(metadata):
            _check_channels(images, metadata)
            spec = self.spec.of_version(metadata.version) if look_up else self.spec
            reply = yield Predict(spec, "trunk", {"images": images}, metadata.signature("trunk"))
            version = reply.version if reply.version is not None else spec.version
            if version is None:
                raise ServingError(
                    f"{self.address}: the reply does not say which version of {self.spec.name} made it, so no combiner "
                    "can be matched to it. Give version.", "FAILED_PRECONDITION"
                )
            outputs = reply.outputs
            return Trunk(outputs["features"], outputs["prior_mean"], outputs["prior_stddev"], version)

        return (yield from self._knowing(ask, afresh=look_up))

    def _ask_combiner(self, trunk, latents):
        if self.combiner is not None:
            return np.asarray((yield Compute(self.combiner, (trunk.features, latents))))
        metadata = self._known
        if metadata is None:
            metadata = yield from self._learn()
        inputs = {"features": trunk.features, "latents": latents}
        spec = self.spec.of_version(trunk.version)
        return (yield Predict(spec, "combiner", inputs, metadata.signature("combiner"))).outputs["logits"]


def _check_images(images):
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not images.size:
        raise ValueError(f"Images must have shape [B, H, W, C], none of them 0. Received: {list(images.shape)}.")
    _check_finite("Images", images)
    return images


def _check_channels(images, metadata):
    if images.shape[-1] != metadata.image_channels:
        raise ValueError(f"Images must have shape [B, H, W, {metadata.image_channels}] for version "
                         f"{metadata.version}. Received: {list(images.shape)}.")


def _check_finite(what, values):
    if not np.isfinite(values).all():
        raise ValueError(f"{what} must be finite. Received: {np.count_nonzero(~np.isfinite(values))} of {values.size} "
                         "values that are not. Replace them first.")


def _check_count(name, value):
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1. Received: {value!r}.")
