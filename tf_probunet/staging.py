"""Folders and files that appear whole or not at all: written beside their final name, renamed when complete."""

import contextlib
import errno
import glob
import os
import shutil
from pathlib import Path


def refuse_existing(final: str | os.PathLike) -> None:
    """Raises `FileExistsError` where there is something under this name already: to be known before long work."""
    if Path(final).exists():
        raise FileExistsError(f"{final} already exists and is never written over. Choose another name or remove it.")


def stage_folder(final: str | os.PathLike) -> Path:
    """Makes an empty folder beside `final`, to be renamed to it when whole, and sweeps those of dead processes.

    Args:
        final: the folder that will appear; it must not exist.
    Returns:
        The staging folder, hidden and named after `final` and this process.
    Raises:
        FileExistsError: `final` is there already.
        OSError: its parent cannot be written.
    """
    final = Path(final)
    refuse_existing(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    staging = final.parent / f".{final.name}.partial-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    return staging


def _sweep(final: Path) -> None:
    """Removes what processes that are dead now were writing beside `final`."""
    for stale in final.parent.glob(f".{glob.escape(final.name)}.partial-*"):
        if not _is_alive(stale.name.rsplit("-", 1)[1]):
            if stale.is_dir() and not stale.is_symlink():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def replace_file(final: str | os.PathLike, mode: str = "w", **options):
    """Opens a file beside `final` for writing and renames it over `final` when the block ends without an error."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    partial = final.parent / f".{final.name}.partial-{os.getpid()}"
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
    try:
        with disk_errors(final), open(partial, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(target: str | os.PathLike, left="Nothing was left under that name",
                remedy="free some space or choose another folder, and run the command again"):
    """Turns what Python and TensorFlow raise on a full or failing disk into one `OSError` that says what to do.

    Args:
        target: what is written.
        left: what of it is there now, in words.
        remedy: what to do, in words.
    """
    # TensorFlow is not imported here: its errors are known by name, so that light tools can use this file.
    try:
        yield
    except Exception as error:
        text = f"{error}"
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text
        if not full:
            raise
        raise OSError(
            errno.ENOSPC,
            f"The disk is full: could not write {target}. {left}; {remedy}",
        ) from error
