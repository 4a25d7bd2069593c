"""A client while versions come and go: whatever belongs together is of one version."""

import numpy as np
import pytest
from client_contract import small
from servables import Model

from tf_probunet.export.exported import ExportedModel
from tf_probunet.serving import ServingError


class TestVersions:
    def test_a_stream_stays_with_its_version(self, connect, servables, versions, model):
        images = small()
        stream = connect().stream(images, num_samples=4, seed=(1, 1), chunk=2)
        chunks = [next(stream)]
        servables.versions[2] = versions[2]
        chunks += stream
        np.testing.assert_array_equal(np.concatenate(chunks, axis=1), model.sample(images, 4, seed=(1, 1))[0])
        assert servables.predictions()[1:] == [("combiner", 1), ("combiner", 1)]

    def test_a_new_version_answers_the_next_call(self, connect, servables, versions):
        client, images = connect(), small()
        assert client.trunk(images).version == 1
        servables.versions[2] = versions[2]
        trunk = client.trunk(images)
        assert trunk.version == 2 and (trunk.prior_stddev < 0).all() and client.status() == dict.fromkeys(
            (1, 2), "AVAILABLE")

    def test_a_stream_begins_again_where_its_version_went_before_the_first_sample(self, connect, servables, versions):
        def swap(signature_name):
            if signature_name == "trunk" and 1 in servables.versions:
                servables.versions = {2: versions[2]}

        servables.after = swap
        logits = list(connect().stream(small(), num_samples=2, chunk=1, logits=True))
        assert len(logits) == 2
        assert servables.predictions()[-4:] == [
            ("combiner", 1), ("trunk", servables.predictions()[-3][1]), ("combiner", 2), ("combiner", 2)]

    def test_and_is_an_error_after_it(self, connect, servables, versions):
        stream = connect().stream(small(), chunk=2)
        next(stream)
        servables.versions = {2: versions[2]}
        with pytest.raises(ServingError, match="Version 1 of lidc was taken from service after 2 of") as raised:
            next(stream)
        assert raised.value.code == "NOT_FOUND"

    def test_so_it_is_where_that_version_was_asked_for(self, connect, servables, versions):
        def swap(signature_name):
            servables.versions = {2: versions[2]}

        servables.after = swap
        with pytest.raises(ServingError) as raised:
            next(connect(version=1).stream(small()))
        assert raised.value.code == "NOT_FOUND" and len(servables.predictions()) == 2

    def test_a_new_version_may_have_other_latents(self, connect, servables, half):
        client, images = connect(), small()
        client.sample(images, 2)
        servables.versions[2] = Model(half)  # N is 3, not 6
        _, probabilities = client.sample(images, 2, seed=(7, 8))
        np.testing.assert_allclose(probabilities, ExportedModel(half).sample(images, 2, seed=(7, 8))[1], atol=1e-6)

    def test_combine_asks_for_the_version_of_its_trunk(self, connect, servables, versions):
        client = connect()
        trunk = client.trunk(small())
        servables.versions[2] = versions[2]
        client.combine(trunk, np.zeros((1, 1, 6)))
        assert servables.predictions()[-1] == ("combiner", 1)
