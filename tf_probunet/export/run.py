"""Exports a run: its best weights, with what its manifest must say of experiment, data and figures."""

import dataclasses
import json
import os
from pathlib import Path

from tf_probunet.callbacks import read_history
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.saved_model import export
from tf_probunet.run_folder import DATA_FACTS, load_run


def export_run(run: str | os.PathLike, output: str | os.PathLike, *, encoded=False, half_features=False) -> Path:
    """Writes the next version below `output` from the best weights of a run.

    Args:
        run: folder that `probunet train` made.
        output: `saved_models/NAME`.
        encoded: a fourth signature for clients that hold PNGs like those of the dataset.
        half_features: see `tf_probunet.export.saved_model.export`.
    Returns:
        the version's folder.
    Raises:
        OSError: there is no such run, it has no weights yet, or the disk is full.
    """
    run = Path(run)
    experiment, model = load_run(run, precision="float32")
    best = min(read_history(run / "history.csv"), key=lambda row: row["val_energy_distance"])
    facts = {
        "experiment": dataclasses.asdict(experiment),
        "data": json.loads((run / DATA_FACTS).read_text(encoding="utf-8")),
        "metrics": {"step": best["step"], **{key: best[key] for key in best if key.startswith("val_")}},
    }
    encoding = ImageEncoding(**facts["data"]["image"]) if encoded else None
    return export(model, output, facts=facts, check_size=experiment.crop_size, half_features=half_features,
                  encoding=encoding)
