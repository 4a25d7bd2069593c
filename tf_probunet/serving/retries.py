"""Which failed calls are made again, when, and when no longer. Pure arithmetic: who waits is not said here.

Every call may be repeated: randomness is an input, so the same request has the same answer. Worth repeating are those
that another moment may serve: no server there (yet), a replica that was or is being stopped, a full queue.
"""

import dataclasses
import random
import time

from tf_probunet.serving.errors import ServingError, is_too_large

# CANCELLED is what gRPC makes of a call that comes while a server closes its port; nobody else cancels ours.
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED")


class Deadline:
    """The moment by which an answer must be there.

    Args:
        timeout: seconds from now.
        clock: seconds that only grow.
    """

    def __init__(self, timeout: float, clock=time.monotonic):
        self.timeout, self._clock = timeout, clock
        self._end = clock() + timeout

    def remaining(self) -> float:
        """Seconds that are left; negative when it has passed."""
        return self._end - self._clock()


@dataclasses.dataclass(frozen=True)
class Retries:
    """Waits that double, each shortened by lot, so that many clients do not come back at the same moment.

    Attributes:
        number: further tries after the first.
        first: seconds before the second try; what follows doubles.
        longest: no wait is longer.
    """

    number: int = 6
    first: float = 0.1
    longest: float = 5.0

    def __post_init__(self):
        if self.number < 0:
            raise ValueError(f"retries must be 0 or more. Received: {self.number}.")

    def delay(self, error: ServingError, tries: int, deadline: Deadline, draw=random.random) -> float:
        """Seconds to wait before the next try.

        Args:
            error: of the last try.
            tries: how many there were.
            deadline: never waited beyond, and not so near to it that the answer would have less time than the wait.
            draw: a number in 0..1.
        Returns:
            between half of the doubled wait and all of it.
        Raises:
            ServingError: the last one, where another try is of no use or comes too late.
        """
        useful = error.code in RETRIED and not is_too_large(error.code, str(error))
        wait = min(self.first * 2 ** (tries - 1), self.longest) * (1 + draw()) / 2
        if useful and tries <= self.number and 2 * wait < deadline.remaining():
            return wait
        if tries == 1:
            raise error
        spent = deadline.timeout - deadline.remaining()
        raise ServingError(f"{error} Tried {tries} times in {spent:.1f} s.", error.code) from error
