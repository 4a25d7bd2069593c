"""A client of served models: numpy in, numpy out, over gRPC or REST, from our servers or TensorFlow Serving."""

import itertools
import time
from collections.abc import Iterator

import numpy as np

from tf_probunet.serving.conversations import Conversations, Trunk
from tf_probunet.serving.errors import ServingError
from tf_probunet.serving.model_metadata import ModelMetadata
from tf_probunet.serving.retries import Deadline
from tf_probunet.serving.steps import Compute, Emit


class Client(Conversations):
    """Draws samples from a model that a server holds; the same seed gives what `ExportedModel.sample` gives.

    Threads may share a client. Calls that find no server, a server that goes, or a full queue are made again, with
    waits that double; nothing else is.

    Args:
        address: HOST:PORT, 8500 for TensorFlow Serving's gRPC, 8501 for its REST.
        model: name under which the server knows it.
        version: number of the version that is to answer, or
        label: that names it, such as "stable"; neither for the newest.
        protocol: "grpc", or "rest" for where only HTTP passes; texts of numbers take several times as many bytes.
        timeout: seconds for a whole call, tries and waits included; of `stream` for each of its calls to the server.
        retries: further tries, or a `tf_probunet.serving.retries.Retries` that says the waits too.
        tls: `tf_probunet.serving.connection.Tls` for an encrypted connection.
        max_message_bytes: of a reply, and of a request over gRPC; 1 GiB if not given.
        combiner: (features, latents [B, M, N]) -> logits [B, M, H, W, K], to be called here instead of the server's
            signature, such as that of a LiteRT file of the same version; needs `version`.
    Raises:
        ValueError: an argument is not as above.

    Example:
        with Client("localhost:8500", "lidc") as client:
            segmentations, probabilities = client.sample(images, num_samples=16, seed=(0, 0))
            for some in client.stream(images, num_samples=256, chunk=16):  # from one run of the U-Net
                ...
    """

    def sample(self, images, num_samples: int = 16, seed=(0, 0)) -> tuple[np.ndarray, np.ndarray]:
        """Draws segmentation hypotheses in one call.

        Args:
            images: [B, H, W, C] float32, 0..1.
            num_samples: M.
            seed: two integers.
        Returns:
            segmentations [B, M, H, W] uint8 and probabilities [B, H, W, K] float32, the mean over the samples.
        Raises:
            ValueError: an argument is not as above; nothing was sent.
            ServingError: there was no answer; `code` says of what kind.
        """
        return self._one(self._sample(images, num_samples, seed))

    def stream(self, images, num_samples: int | None = None, seed=(0, 0), chunk: int = 16,
               logits: bool = False) -> Iterator[np.ndarray]:
        """Draws hypotheses in chunks: the trunk runs once, the combiner of the same version once a chunk.

        With `num_samples`, the chunks together are the segmentations of `sample` with that number and seed. Without,
        they never end; which they are depends on the seed alone, not on `chunk` (see
        `tf_probunet.serving.noise.noise_chunks`), but they are others than those of `sample`.

        Args:
            images: [B, H, W, C] float32, 0..1.
            num_samples: M, or None for as many as are asked for.
            seed: two integers.
            chunk: hypotheses of each image at once.
            logits: yields logits instead of segmentations.
        Yields:
            segmentations [B, chunk, H, W] uint8, or logits [B, chunk, H, W, K] float32; the last may have fewer.
        Raises:
            ValueError, ServingError: see `sample`; NOT_FOUND where the version was taken from service on the way.
        """
        return self._drive(self._stream(images, num_samples, seed, chunk, logits))

    def trunk(self, images) -> Trunk:
        """Runs what is computed once an image.

        Args:
            images: [B, H, W, C] float32, 0..1.
        Returns:
            features and prior, with the version that they are of.
        """
        return self._one(self._trunk(images))

    def combine(self, trunk: Trunk, latents) -> np.ndarray:
        """Runs the combiner of the trunk's version.

        Args:
            trunk: from `trunk`.
            latents: [B, M, N], such as `trunk.latents(noise)`.
        Returns:
            logits [B, M, H, W, K] float32.
        """
        return self._one(self._combine(trunk, latents))

    def status(self) -> dict[int, str]:
        """State of each version that the server knows: START, LOADING, AVAILABLE, UNLOADING or END."""
        return self._one(self._status())

    def metadata(self) -> ModelMetadata:
        """The version that answers now, and its signatures."""
        return self._one(self._metadata())

    def close(self):
        """Ends the connection."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _connect(self):
        if self.protocol == "grpc":
            from tf_probunet.serving.grpc_transport import GrpcTransport as Transport
        else:
            from tf_probunet.serving.rest_transport import RestTransport as Transport
        return Transport(self.address, self.tls, self.max_message_bytes)

    def _one(self, conversation):
        """The only value that a conversation emits."""
        return next(self._drive(conversation, Deadline(self.timeout)))

    def _drive(self, conversation, deadline=None):
        """Holds a conversation and yields what it emits."""
        result, error = None, None
        try:
            while True:
                try:
                    step = conversation.send(result) if error is None else conversation.throw(error)
                except StopIteration:
                    return
                result = error = None
                if isinstance(step, Emit):
                    yield step.value
                    continue
                try:
                    result = self._perform(step, deadline or Deadline(self.timeout))
                except Exception as raised:  # the conversation knows what to make of it
                    error = raised
        finally:
            conversation.close()

    def _perform(self, step, deadline):
        if isinstance(step, Compute):
            return step.function(*step.arguments)
        for tries in itertools.count(1):
            try:
                return self._transport.perform(step, deadline.remaining())
            except ServingError as error:
                time.sleep(self.retries.delay(error, tries, deadline))
