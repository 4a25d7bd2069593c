"""Keeps native libraries from writing to a user's terminal where no log level of theirs holds."""

import atexit
import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def native_stderr():
    """Holds back what is written to the process's standard error, by any thread, while the block runs.

    Yields:
        a function that returns what was written so far.
    Raises:
        whatever the block raises, after what was held back has been written: now it matters.
    """
    with contextlib.suppress(Exception):  # there may be no standard error at all
        sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        def so_far():
            said.seek(0)
            return said.read().decode(errors="replace")

        os.dup2(said.fileno(), 2)
        try:
            yield so_far
        except BaseException:
            os.write(kept, so_far().encode())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def silence_exit() -> None:
    """Nothing is written to standard error once this process ends: for a command whose libraries say good-bye."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
