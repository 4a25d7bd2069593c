"""Nothing half-written is ever seen under a final name, and what dead processes left is swept."""

import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tf_probunet.staging import disk_errors, replace_file, stage_folder

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestStageFolder:
    def test_it_is_empty_hidden_and_beside_the_final_name(self, tmp_path):
        staging = stage_folder(tmp_path / "new" / "data")
        assert staging.parent == tmp_path / "new" and staging.name.startswith(".")
        assert os.listdir(staging) == [] and not (tmp_path / "new" / "data").exists()

    @pytest.mark.parametrize("make", ["mkdir", "touch"])
    def test_what_exists_is_refused(self, tmp_path, make):
        getattr(tmp_path / "data", make)()
        with pytest.raises(FileExistsError, match="data already exists.*Choose another name or remove it"):
            stage_folder(tmp_path / "data")
        assert os.listdir(tmp_path) == ["data"]

    @pytest.mark.parametrize("name", ["data", "data[1]", "da*ta"])
    def test_the_dead_are_swept_the_living_and_other_names_are_not(self, tmp_path, dead_pid, name):
        stale = tmp_path / f".{name}.partial-{dead_pid}"
        spared = [tmp_path / f".{name}.partial-{os.getppid()}", tmp_path / f".other.partial-{dead_pid}"]
        for folder in (stale, *spared):
            folder.mkdir()
            (folder / "shard").write_text("x")
        staging = stage_folder(tmp_path / name)
        assert sorted(tmp_path.iterdir()) == sorted([*spared, staging])

    def test_a_second_try_of_one_process_starts_empty(self, tmp_path):
        (stage_folder(tmp_path / "data") / "old").write_text("x")
        assert os.listdir(stage_folder(tmp_path / "data")) == []


class TestReplaceFile:
    def test_the_old_text_stands_until_the_new_is_whole(self, tmp_path):
        path = tmp_path / "deep" / "file.txt"
        with replace_file(path) as file:
            file.write("old")
        with replace_file(path) as file:
            file.write("nëw")
            file.flush()
            assert path.read_text() == "old"
        assert path.read_bytes() == "nëw".encode()
        assert os.listdir(path.parent) == ["file.txt"]

    def test_bytes(self, tmp_path):
        with replace_file(tmp_path / "file", "wb") as file:
            file.write(b"\x00\xff")
        assert (tmp_path / "file").read_bytes() == b"\x00\xff"

    @pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
    def test_an_error_in_the_block_leaves_the_old(self, tmp_path, error):
        (tmp_path / "file").write_text("old")
        with pytest.raises(type(error)), replace_file(tmp_path / "file") as file:
            file.write("half")
            raise error
        assert (tmp_path / "file").read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    @pytest.mark.parametrize("length", [1, 1 << 20])  # fails in flush, fails in write
    def test_a_full_disk_leaves_the_old(self, tmp_path, length):
        (tmp_path / "file").write_text("old")
        (tmp_path / f".file.partial-{os.getpid()}").symlink_to("/dev/full")
        with pytest.raises(OSError, match="disk is full: could not write .*file.*free some space") as caught:
            with replace_file(tmp_path / "file") as file:
                file.write("x" * length)
        assert caught.value.errno == errno.ENOSPC
        assert (tmp_path / "file").read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]

    def test_the_dead_are_swept(self, tmp_path, dead_pid):
        (tmp_path / f".file.partial-{dead_pid}").write_text("half")
        with replace_file(tmp_path / "file") as file:
            file.write("x")
        assert os.listdir(tmp_path) == ["file"]


class TestDiskErrors:
    @pytest.mark.parametrize("error", [
        NO_SPACE,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        tf.errors.ResourceExhaustedError(None, None, "data; No space left on device"),
    ])
    def test_a_full_disk_is_one_error_with_the_remedy(self, error):
        with pytest.raises(OSError, match="disk is full: could not write data.*free some space") as caught:
            with disk_errors("data"):
                raise error
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.__cause__ is error

    @pytest.mark.parametrize("error", [
        PermissionError(errno.EACCES, "no"), tf.errors.ResourceExhaustedError(None, None, "OOM"), ValueError("x"),
    ])
    def test_other_errors_pass_unchanged(self, error):
        with pytest.raises(type(error)) as caught, disk_errors("data"):
            raise error
        assert caught.value is error
