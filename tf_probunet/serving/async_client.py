"""The client for asyncio: the conversations of `Client`, awaited."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import numpy as np

from tf_probunet.serving.conversations import Conversations, Trunk
from tf_probunet.serving.errors import ServingError
from tf_probunet.serving.model_metadata import ModelMetadata
from tf_probunet.serving.retries import Deadline
from tf_probunet.serving.steps import Compute, Emit


class AsyncClient(Conversations):
    """`tf_probunet.serving.client.Client` for asyncio: the same arguments, the same numbers, calls to be awaited.

    It belongs to the event loop in which it is first used. Many calls at once share its connection; REST needs aiohttp
    (pip install 'tf_probunet[async-rest]'). A `combiner` of your own is called in a thread.

    Example:
        async with AsyncClient("localhost:8500", "lidc") as client:
            segmentations, probabilities = await client.sample(images)
            async for some in client.stream(images, num_samples=64):
                ...
    """

    async def sample(self, images, num_samples: int = 16, seed=(0, 0)) -> tuple[np.ndarray, np.ndarray]:
        """See `Client.sample`."""
        return await self._one(self._sample(images, num_samples, seed))

    def stream(self, images, num_samples: int | None = None, seed=(0, 0), chunk: int = 16,
               logits: bool = False) -> AsyncIterator[np.ndarray]:
        """See `Client.stream`; to be read with `async for`."""
        return self._drive(self._stream(images, num_samples, seed, chunk, logits))

    async def trunk(self, images) -> Trunk:
        """See `Client.trunk`."""
        return await self._one(self._trunk(images))

    async def combine(self, trunk: Trunk, latents) -> np.ndarray:
        """See `Client.combine`."""
        return await self._one(self._combine(trunk, latents))

    async def status(self) -> dict[int, str]:
        """See `Client.status`."""
        return await self._one(self._status())

    async def metadata(self) -> ModelMetadata:
        """See `Client.metadata`."""
        return await self._one(self._metadata())

    async def close(self):
        """Ends the connection."""
        await self._transport.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    def _connect(self):
        if self.protocol == "grpc":
            from tf_probunet.serving.grpc_transport import AsyncGrpcTransport as Transport
        else:
            from tf_probunet.serving.rest_transport import AsyncRestTransport as Transport
        return Transport(self.address, self.tls, self.max_message_bytes)

    async def _one(self, conversation):
        """The only value that a conversation emits."""
        drive = self._drive(conversation, Deadline(self.timeout))
        try:
            return await anext(drive)
        finally:
            await drive.aclose()

    async def _drive(self, conversation, deadline=None):
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
                    result = await self._perform(step, deadline or Deadline(self.timeout))
                except Exception as raised:  # the conversation knows what to make of it
                    error = raised
        finally:
            conversation.close()

    async def _perform(self, step, deadline):
        if isinstance(step, Compute):
            return await asyncio.to_thread(step.function, *step.arguments)
        for tries in itertools.count(1):
            try:
                return await self._transport.perform(step, deadline.remaining())
            except ServingError as error:
                await asyncio.sleep(self.retries.delay(error, tries, deadline))
