"""Checkpoints that are whole or not there: written beside their name, renamed, and checked before they are used."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from tf_probunet.checksums import sha256_of
from tf_probunet.staging import replace_file, stage_folder

SUMS = "sha256.json"
KEPT = 2


class Checkpoints:
    """The states of a run, one folder a checkpoint, `step-00001000/`, of which the newest two are kept.

    Args:
        folder: where the folders are.
        keep: whether this process keeps what it saves. Of several that train one model one does; the others must save
            at the same time all the same, for sums over processes, as metrics are, are made while they are read.
        **objects: what is saved: model, optimizer.
    """

    def __init__(self, folder: str | os.PathLike, keep=True, **objects):
        self.folder, self.keep = Path(folder), keep
        self.checkpoint = tf.train.Checkpoint(**objects)

    def save(self, step: int) -> None:
        """Saves everything as the state after `step` steps; what was saved for that step before is replaced.

        Raises:
            OSError: the disk is full or cannot be written; earlier checkpoints are as they were.
        """
        if not self.keep:
            with tempfile.TemporaryDirectory() as dropped:
                self.checkpoint.write(os.path.join(dropped, "state"))
            return
        final = self.folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)  # it did not pass the check, or it would have been gone on from
        staging = stage_folder(final)
        try:
            self.checkpoint.write(str(staging / "state"))
            sums = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
            with replace_file(staging / SUMS) as file:
                json.dump(sums, file, indent=1)
            staging.rename(final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        for step in self.steps()[:-KEPT]:
            shutil.rmtree(self.folder / f"step-{step:08d}", ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        if not self.folder.is_dir():
            return []
        names = (re.fullmatch(r"step-(\d{8,})", path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def restore(self, report=print) -> int:
        """Takes the newest checkpoint that is whole, and says which damaged ones it passed over.

        Returns:
            its step; 0 where there is none, and then nothing was changed.
        Raises:
            OSError: there are checkpoints, but none is whole.
        """
        found = self.steps()
        for step in reversed(found):
            folder = self.folder / f"step-{step:08d}"
            damage = _damage(folder)
            if damage:
                report(f"Checkpoint {folder} cannot be used: {damage}. Taking the one before it.")
                continue
            self.checkpoint.read(str(folder / "state")).assert_existing_objects_matched()
            return step
        if found:
            raise OSError(f"None of the {len(found)} checkpoints in {self.folder} is whole. Copy them again from where "
                          "they were saved; or remove that folder, and --resume begins at the first step.")
        return 0


def _damage(folder):
    """What is wrong with a checkpoint, or None."""
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name in {"state.index", *sums}:
            if sha256_of(folder / name) != sums[name]:
                return f"{name} is not as it was written"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None
