"""Merges requests that wait for the same thing into one call, without making any wait for company."""

import asyncio
import dataclasses
from collections.abc import Callable, Hashable
from concurrent.futures import Executor

import numpy as np


@dataclasses.dataclass(frozen=True)
class _Waiting:
    key: Hashable
    call: Callable
    inputs: dict[str, np.ndarray]
    rows: int
    future: asyncio.Future


class Batcher:
    """Runs calls in threads, as many at once as there are slots.

    A request that finds a free slot is run at once. Those that come while all slots are taken wait, and when one is
    free, all that wait for the same key go in one call, the oldest first.

    Args:
        executor: threads for the calls.
        slots: calls at once.
    """

    def __init__(self, executor: Executor, slots: int):
        self.executor, self.free = executor, slots
        self.waiting: list[_Waiting] = []

    async def run(self, key: Hashable, call: Callable, inputs: dict[str, np.ndarray], rows: int):
        """`call(inputs)`, perhaps together with others.

        Args:
            key: requests of equal key may be merged: same function, same shapes but for dimension 0.
            call: takes and returns arrays by name, all with the same dimension 0.
            inputs: arrays of this request.
            rows: along dimension 0 that a merged call may have; a single request may have more.
        Returns:
            arrays by name.
        """
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(_Waiting(key, call, inputs, rows, future))
        self._dispatch()
        return await future

    def _dispatch(self):
        while self.free and self.waiting:
            self.waiting = [entry for entry in self.waiting if not entry.future.done()]  # the caller has gone
            if not self.waiting:
                return
            batch = self._take()
            self.free -= 1
            task = asyncio.get_running_loop().run_in_executor(self.executor, _call_merged, batch)
            task.add_done_callback(lambda done, batch=batch: self._finish(done, batch))

    def _take(self):
        """The oldest request, and those behind it that may go with it."""
        first, rows, batch, left = self.waiting[0], 0, [], []
        for entry in self.waiting:
            size = _rows(entry.inputs)
            if entry.key == first.key and (not batch or rows + size <= first.rows):
                batch.append(entry)
                rows += size
            else:
                left.append(entry)
        self.waiting = left
        return batch

    def _finish(self, done, batch):
        self.free += 1
        for entry, result in zip(batch, done.result()):
            if entry.future.done():
                continue
            if isinstance(result, Exception):
                entry.future.set_exception(result)
            else:
                entry.future.set_result(result)
        self._dispatch()


def _rows(inputs):
    return len(next(iter(inputs.values())))


def _call_merged(batch) -> list[dict[str, np.ndarray] | Exception]:
    """For each request of a batch its outputs, or what went wrong; one that fails does not fail the others."""
    requests = [entry.inputs for entry in batch]
    if len(batch) > 1:
        try:
            names = requests[0]
            outputs = batch[0].call({name: np.concatenate([inputs[name] for inputs in requests]) for name in names})
            ends = np.cumsum([_rows(inputs) for inputs in requests])
            return [{name: value[end - _rows(inputs): end] for name, value in outputs.items()}
                    for end, inputs in zip(ends, requests)]
        except Exception:  # noqa: BLE001  whose fault it was shows when each runs alone
            pass
    return [_outcome(entry) for entry in batch]


def _outcome(entry):
    try:
        return entry.call(entry.inputs)
    except Exception as error:  # noqa: BLE001  it is raised where the request waits
        return error
