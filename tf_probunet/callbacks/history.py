"""`history.csv`: one row an epoch."""

import csv
import time
from pathlib import Path

import keras

from tf_probunet.staging import replace_file


def read_history(path) -> list[dict[str, float]]:
    """Rows of a `history.csv`, one an epoch."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {name: int(value) if name in ("epoch", "step") else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def write_history(path, rows):
    """Writes a `history.csv` anew; all rows have the columns of the last."""
    with replace_file(path, newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[-1])
        writer.writeheader()
        writer.writerows(rows)


class History(keras.callbacks.Callback):
    """`history.csv`: one row an epoch, rewritten whole each time; rows past `first_epoch` are replayed ones."""

    def __init__(self, path, first_epoch=0):
        super().__init__()
        self.path = Path(path)
        self.rows = []
        if self.path.is_file():
            self.rows = [row for row in read_history(self.path) if row["epoch"] <= first_epoch]
        self._start = time.time()

    def best(self, name):
        """The lowest value of a column so far, or None."""
        return min((row[name] for row in self.rows), default=None)

    def on_epoch_end(self, epoch, logs):
        now = time.time()
        step = int(self.model.optimizer.iterations.numpy())
        rate = float(self.model.optimizer.learning_rate)
        self.rows.append({"epoch": epoch + 1, "step": step, "seconds": round(now - self._start, 1),
                          "learning_rate": rate, **{name: float(value) for name, value in logs.items()}})
        self._start = now
        write_history(self.path, self.rows)
