"""What a client must get from any server of models, TensorFlow Serving's interface in front: subclass `ClientContract`.

Subclasses give the fixture `addresses`: {"grpc": HOST:PORT, "rest": HOST:PORT} of a server that has
saved_models/lidc under the name lidc, version 1, with the label "stable".
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tf_probunet.serving import AsyncClient, Client, ServingError

ROOT = Path(__file__).parents[2]
LIDC = ROOT / "saved_models" / "lidc" / "1"
ATOL = {"grpc": 0.0, "rest": 1e-6}  # over REST, numbers are texts


class Blocking:
    """An `AsyncClient` that a test calls like a `Client`."""

    def __init__(self, *arguments, **options):
        self.loop = asyncio.new_event_loop()
        self.client = AsyncClient(*arguments, **options)

    def __getattr__(self, name):
        method = getattr(self.client, name)
        if name == "stream":
            return lambda *arguments, **options: self.read(method(*arguments, **options))
        return lambda *arguments, **options: self.loop.run_until_complete(method(*arguments, **options))

    def read(self, stream):
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self.loop.run_until_complete(anext(stream))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.run_until_complete(self.client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


KINDS = {"blocking": Client, "async": Blocking}


def example_images(batch=2, size=32, seed=0):
    """Images as the model has seen them: dark, with a bright spot."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((size, size)) - size // 2
    spot = 0.5 * np.exp(-(rows**2 + columns**2) / (size / 4) ** 2)
    return (spot + rng.uniform(0.1, 0.3, (batch, size, size))).astype(np.float32)[..., None]


def small():
    """One image, of the least size that the network takes."""
    return example_images(batch=1, size=16)


class ClientContract:
    def test_samples_are_those_of_the_model_in_process(self, connect, protocol, model):
        images = example_images()
        segmentations, probabilities = connect().sample(images, num_samples=5, seed=(3, 4))
        expected = model.sample(images, 5, seed=(3, 4))
        assert segmentations.dtype == np.uint8 and probabilities.dtype == np.float32
        np.testing.assert_array_equal(segmentations, expected[0])
        np.testing.assert_allclose(probabilities, expected[1], rtol=0, atol=ATOL[protocol])
        assert 0 < segmentations.mean() < 1  # something is there to be compared

    def test_another_seed_gives_other_samples(self, connect):
        client, images = connect(), example_images()
        first, again, other = (client.sample(images, 4, seed=seed)[1] for seed in ((0, 1), (0, 1), (1, 1)))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-3

    def test_a_stream_of_known_length_is_sample_in_pieces(self, connect, model):
        images = example_images()
        chunks = list(connect().stream(images, num_samples=7, seed=(5, 0), chunk=3))
        assert [chunk.shape[1] for chunk in chunks] == [3, 3, 1] and chunks[0].dtype == np.uint8
        np.testing.assert_array_equal(np.concatenate(chunks, axis=1), model.sample(images, 7, seed=(5, 0))[0])

    def test_a_stream_without_end_depends_on_its_seed_alone(self, connect):
        client, images = connect(), example_images(batch=1)

        def first(count, **options):
            found = np.empty((1, 0, 32, 32, 2), np.float32)
            with contextlib.closing(client.stream(images, logits=True, **options)) as stream:
                while found.shape[1] < count:
                    found = np.concatenate([found, next(stream)], axis=1)
            return found[:, :count]

        logits = first(20, seed=(1, 2), chunk=5)
        np.testing.assert_allclose(first(20, seed=(1, 2), chunk=7), logits, rtol=0, atol=1e-4)
        assert np.abs(first(5, seed=(1, 3), chunk=5) - logits[:, :5]).max() > 0.01
        flat = logits.reshape(20, -1)  # no sample is drawn twice
        assert min(np.abs(flat[i] - flat[j]).max() for i in range(20) for j in range(i)) > 1e-3

    def test_trunk_and_combine_are_those_of_the_model_in_process(self, connect, protocol, model):
        client, images = connect(), example_images()
        trunk = client.trunk(images)
        expected = model.signatures["trunk"](images=images)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(trunk, name), value, rtol=0, atol=ATOL[protocol])
        assert trunk.version == 1
        noise = np.random.default_rng(0).standard_normal((2, 3, 6), np.float32)
        latents = trunk.latents(noise)
        np.testing.assert_allclose(latents, trunk.prior_mean[:, None] + trunk.prior_stddev[:, None] * noise, rtol=1e-6)
        logits = client.combine(trunk, latents)
        expected = model.signatures["combiner"](features=trunk.features, latents=latents)["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=0, atol=10 * ATOL[protocol])

    def test_status_and_metadata(self, connect):
        client = connect()
        assert client.status()[1] == "AVAILABLE"
        metadata = client.metadata()
        assert (metadata.version, metadata.image_channels, metadata.latent_dim, metadata.num_classes) == (1, 1, 6, 2)
        assert metadata.signature("trunk").outputs["features"].shape == (None, None, None, 32)

    @pytest.mark.parametrize("options", [{"version": 1}, {"label": "stable"}])
    def test_a_version_or_label_can_be_asked_for(self, connect, options, model):
        client, images = connect(**options), example_images(batch=1)
        np.testing.assert_array_equal(client.sample(images, 2)[0], model.sample(images, 2)[0])
        assert client.trunk(images).version == 1 and client.metadata().version == 1

    @pytest.mark.parametrize("options, code", [
        ({"name": "lung"}, "NOT_FOUND"), ({"version": 99}, "NOT_FOUND"), ({"label": "none"}, "INVALID_ARGUMENT"),
    ])
    def test_what_is_not_served_is_an_error(self, connect, options, code):
        client = connect(**options)
        for call in (client.sample, client.trunk):
            with pytest.raises(ServingError) as raised:
                call(example_images())
            assert raised.value.code == code

    def test_sizes_that_the_network_cannot_take_are_an_error(self, connect):
        with pytest.raises(ServingError) as raised:
            connect().sample(example_images(size=17))
        assert raised.value.code == "INVALID_ARGUMENT"

    @pytest.mark.parametrize("protocol", ["grpc"])
    def test_messages_of_more_than_4_megabytes(self, connect, model):
        client, images = connect(), example_images(batch=1, size=192)
        trunk = client.trunk(images)  # 4.7 MB on the way here
        assert trunk.features.nbytes > 4.5e6
        logits = client.combine(trunk, np.zeros((1, 1, 6)))  # and on the way there
        expected = model.signatures["combiner"](features=trunk.features, latents=np.zeros((1, 1, 6), np.float32))
        np.testing.assert_array_equal(logits, expected["logits"])

    def test_many_at_once(self, addresses, protocol, model):
        images = example_images(batch=1)
        expected = model.sample(images, 2)[0]
        with Client(addresses[protocol], "lidc", protocol=protocol) as client, ThreadPoolExecutor(6) as threads:
            for segmentations, _ in threads.map(lambda _: client.sample(images, 2), range(8)):
                np.testing.assert_array_equal(segmentations, expected)

    def test_many_awaited_at_once(self, addresses, protocol, model):
        images = example_images(batch=1)

        async def ask():
            async with AsyncClient(addresses[protocol], "lidc", protocol=protocol) as client:
                return await asyncio.gather(*(client.sample(images, 2) for _ in range(8)))

        expected = model.sample(images, 2)[0]
        for segmentations, _ in asyncio.run(ask()):
            np.testing.assert_array_equal(segmentations, expected)
