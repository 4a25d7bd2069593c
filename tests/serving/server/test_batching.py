"""Requests that wait for the same thing go together; nobody waits for company, and nobody fails for another."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tf_probunet.serving.server.batching import Batcher


class Machine:
    """A function that can be held up, and remembers the rows of its calls."""

    def __init__(self):
        self.open, self.calls = threading.Event(), []

    def __call__(self, inputs):
        self.calls.append(inputs["x"][:, 0].tolist())
        self.open.wait(10)
        if (inputs["x"] < 0).any():
            raise ValueError("below 0")
        return {"y": inputs["x"] * 10}


def one(value, rows=1):
    return {"x": np.full((rows, 1), float(value))}


def run(scenario, slots=1):
    async def main():
        with ThreadPoolExecutor(slots) as executor:
            return await scenario(Batcher(executor, slots))

    return asyncio.run(main())


def test_who_finds_a_free_slot_goes_at_once_and_those_behind_go_together():
    machine = Machine()

    async def scenario(batcher):
        tasks = [asyncio.create_task(batcher.run("key", machine, one(value), 4)) for value in range(7)]
        await asyncio.sleep(0.05)
        assert machine.calls == [[0]]
        machine.open.set()
        return [float(found["y"][0, 0]) for found in await asyncio.gather(*tasks)]

    assert run(scenario) == [0, 10, 20, 30, 40, 50, 60]
    assert machine.calls == [[0], [1, 2, 3, 4], [5, 6]]


def test_only_what_has_the_same_key_goes_together_the_oldest_first():
    machine = Machine()

    async def scenario(batcher):
        keys = ["a", "a", "b", "a", "b"]
        tasks = [asyncio.create_task(batcher.run(key, machine, one(value), 4)) for value, key in enumerate(keys)]
        await asyncio.sleep(0.05)
        machine.open.set()
        await asyncio.gather(*tasks)

    run(scenario)
    assert machine.calls == [[0], [1, 3], [2, 4]]


def test_requests_of_several_rows_stay_whole_and_one_larger_than_a_batch_goes_alone():
    machine = Machine()

    async def scenario(batcher):
        sizes = [1, 3, 2, 9, 1]
        tasks = [asyncio.create_task(batcher.run("key", machine, one(value, rows), 4))
                 for value, rows in enumerate(sizes)]
        await asyncio.sleep(0.05)
        machine.open.set()
        return [found["y"][:, 0].tolist() for found in await asyncio.gather(*tasks)]

    assert run(scenario) == [[0], [10] * 3, [20] * 2, [30] * 9, [40]]
    assert machine.calls == [[0], [1, 1, 1, 4], [2, 2], [3] * 9]


def test_one_that_fails_does_not_fail_the_others_of_its_batch():
    machine = Machine()

    async def scenario(batcher):
        tasks = [asyncio.create_task(batcher.run("key", machine, one(value), 4)) for value in (0, 1, -1, 3)]
        await asyncio.sleep(0.05)
        machine.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run(scenario)
    assert [float(entry["y"][0, 0]) for entry in found if isinstance(entry, dict)] == [0, 10, 30]
    with pytest.raises(ValueError, match="below 0"):
        raise found[2]


def test_who_has_gone_is_not_computed_for():
    machine = Machine()

    async def scenario(batcher):
        tasks = [asyncio.create_task(batcher.run("key", machine, one(value), 4)) for value in range(3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0)
        machine.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario)
    assert machine.calls == [[0], [2]]


def test_several_slots_run_at_the_same_time():
    machine = Machine()

    async def scenario(batcher):
        tasks = [asyncio.create_task(batcher.run("key", machine, one(value), 4)) for value in range(2)]
        await asyncio.sleep(0.1)
        assert machine.calls == [[0], [1]]
        machine.open.set()
        await asyncio.gather(*tasks)

    run(scenario, slots=2)
