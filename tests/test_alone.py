"""One process at a time in a folder, also where folders cannot be locked, and nothing left over when it ends."""

import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest

from tf_probunet.alone import LOCK_FILE, alone

HOLD = (
    "import sys\n"
    "from tf_probunet.alone import alone\n"
    "with alone(sys.argv[1]):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder until it is killed or its input ends."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refuse_folders(number):
    """As flock of a file system that refuses folders, or everything, with that error."""
    flock = fcntl.flock

    def refuse(descriptor, operation):
        if number in (errno.ENOSYS, errno.ENOLCK) or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flock(descriptor, operation)

    return refuse


class TestAlone:
    def test_another_process_is_refused_until_it_ends(self, other, tmp_path):
        with pytest.raises(BlockingIOError, match="somebody is there"), alone(tmp_path, "somebody is there"):
            pass
        other.kill()
        other.wait()
        with alone(tmp_path, "somebody is there"):
            assert not any(tmp_path.iterdir())

    def test_it_waits_where_it_has_nothing_to_say(self, other, tmp_path):
        code = HOLD.replace("    sys.stdin.read()\n", "")
        third = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            third.wait(1)
        other.stdin.close()
        assert third.communicate(timeout=60)[0] == "held\n" and third.returncode == 0

    def test_an_error_within_lets_go(self, tmp_path):
        with pytest.raises(KeyError), alone(tmp_path, "taken"):
            raise KeyError
        with alone(tmp_path, "taken"):
            pass

    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError), alone(tmp_path / "none"):
            pass

    @pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL])
    def test_where_folders_cannot_be_locked_a_file_in_them_is(self, tmp_path, monkeypatch, number):
        monkeypatch.setattr(fcntl, "flock", refuse_folders(number))
        with alone(tmp_path, "taken"):
            assert (tmp_path / LOCK_FILE).is_file()
            with pytest.raises(BlockingIOError, match="taken"), alone(tmp_path, "taken"):
                pass
        with alone(tmp_path, "taken"):
            pass

    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
    def test_where_there_are_no_locks_nothing_is_refused(self, tmp_path, monkeypatch, number):
        monkeypatch.setattr(fcntl, "flock", refuse_folders(number))
        with alone(tmp_path, "taken"), alone(tmp_path, "taken"):
            assert not any(tmp_path.iterdir())

    def test_other_errors_are_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(fcntl, "flock", refuse_folders(errno.EIO))
        with pytest.raises(OSError, match="Input/output"), alone(tmp_path, "taken"):
            pass
