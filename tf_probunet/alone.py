"""One process at a time: a lock on a folder, which goes with the process that holds it, however that ends."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

LOCK_FILE = ".lock"  # where folders themselves cannot be locked
NOT_A_FOLDER = (errno.EBADF, errno.EINVAL, errno.EISDIR)  # NFS locks what is open for writing
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextlib.contextmanager
def alone(folder: str | os.PathLike, refusal: str | None = None):
    """Within the block no other process is within a block of the same folder.

    On NFS the folder gets a file `.lock`, which stays. Where a file system has no locks at all, as Lustre mounted
    without them, nothing is locked and nothing refused.

    Args:
        folder: one that is there.
        refusal: what to say where another process holds it; None to wait for that process.
    Raises:
        BlockingIOError: another process holds it, or this one in another block.
    """
    with contextlib.ExitStack() as opened:
        def lock(path, flags):
            descriptor = os.open(path, flags, 0o666)
            opened.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX if refusal is None else fcntl.LOCK_EX | fcntl.LOCK_NB)

        try:
            try:
                lock(folder, os.O_RDONLY)
            except OSError as error:
                if error.errno not in NOT_A_FOLDER:
                    raise
                lock(Path(folder) / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, refusal) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
