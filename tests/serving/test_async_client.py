"""What only the client for asyncio has: calls that overlap, a loop that stays free, cancelling, being closed early.

Its numbers, retries, deadlines and versions are tested with those of `Client`, in test_client.py.
"""

import asyncio
import sys
import time

import numpy as np
import pytest
from client_contract import example_images

from tf_probunet.serving import AsyncClient


def run(addresses, protocol, conversation, **options):
    """Runs the coroutine function `conversation(client)`."""
    async def whole():
        async with AsyncClient(addresses[protocol], "lidc", protocol=protocol, **options) as client:
            await client.metadata()
            return await conversation(client)

    return asyncio.run(whole())


def test_calls_overlap(addresses, protocol, servables):
    async def ask(client):
        await client.sample(example_images(1, 16), 1)  # whatever takes longer the first time
        servables.delay = 1
        start = time.monotonic()
        await asyncio.gather(*(client.sample(example_images(1, 16), 1, seed=(seed, 0)) for seed in range(6)))
        return time.monotonic() - start

    assert run(addresses, protocol, ask) < 5  # 6 s and more one after another


def test_a_combiner_of_ones_own_leaves_the_loop_free(addresses, protocol):
    def combiner(features, latents):
        time.sleep(2)
        return np.zeros((*latents.shape[:2], *features.shape[1:3], 2), np.float32)

    async def ask(client):
        stream, ticks = client.stream(example_images(1, 16), num_samples=1), [time.monotonic()]
        task = asyncio.ensure_future(anext(stream))
        while not task.done():
            await asyncio.sleep(0.02)
            ticks.append(time.monotonic())
        await stream.aclose()
        return np.diff(ticks).max(), task.result()

    pause, segmentations = run(addresses, protocol, ask, version=1, combiner=combiner)
    assert pause < 1.5 and segmentations.shape == (1, 1, 16, 16)


def test_a_cancelled_call_ends_at_once_and_the_next_one_is_answered(addresses, protocol, servables, model):
    images = example_images(1)

    async def ask(client):
        servables.delay = 5
        task = asyncio.ensure_future(client.sample(images, 2))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        servables.delay = 0
        return time.monotonic() - start, await client.sample(images, 2)

    waited, (segmentations, _) = run(addresses, protocol, ask)
    assert waited < 3
    np.testing.assert_array_equal(segmentations, model.sample(images, 2)[0])


def test_a_stream_may_be_left(addresses, protocol, servables):
    async def ask(client):
        async for some in client.stream(example_images(1, 16), chunk=2):
            return some.shape

    assert run(addresses, protocol, ask) == (1, 2, 16, 16)
    assert [name for name, _ in servables.predictions()] == ["trunk", "combiner"]


def test_rest_without_aiohttp_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match=r"pip install 'tf_probunet\[async-rest\]'"):
        AsyncClient("localhost:8501", "lidc", protocol="rest")
