"""Figures: training curves and sheets of samples. The only file that imports matplotlib (extra `plots`).

Figures of comparisons are in `tf_probunet.comparison.plots`, which draws with what this file imports.
"""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np

from tf_probunet import overlay
from tf_probunet.staging import replace_file

# Okabe and Ito's palette, told apart without colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def is_available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require() -> None:
    """Raises an `ImportError` that names the extra where matplotlib is missing: to be known before long work."""
    _pyplot()


def _pyplot():
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("Figures need matplotlib: pip install 'tf_probunet[plots]'.") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(plt, figure, path):
    with replace_file(path, "wb") as file:
        figure.savefig(file, format=Path(path).suffix[1:] or "png", dpi=110)
    plt.close(figure)


def progress(rows, path) -> None:
    """Training curves of a run.

    Args:
        rows: dicts as `history.csv` has them, one an epoch.
        path: PNG to write.
    """
    plt = _pyplot()
    steps = [row["step"] for row in rows]
    latents = [name for name in rows[-1] if re.fullmatch(r"val_kl_\d+", name)]
    panels = [
        ("Cross-entropy (nats an image)", ("cross_entropy", "val_cross_entropy"), "log"),
        ("KL of posterior from prior (nats)", ("kl", "val_kl"), "linear"),
        ("Of which by latent, on validation images", latents, "linear"),
        ("Validation images", ("val_energy_distance", "val_sample_diversity", "val_grader_diversity",
                               "val_nested_pairs"), "linear"),
    ]
    # Models without a latent space have no KL, and files of earlier versions fewer columns.
    panels = [(title, [name for name in names if name in rows[-1]], scale) for title, names, scale in panels]
    panels = [panel for panel in panels if panel[1]]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.3 * len(panels), 3.8), layout="constrained")
    labels = {"cross_entropy": "training", "kl": "training", "val_cross_entropy": "validation", "val_kl": "validation",
              "val_energy_distance": "energy distance", "val_sample_diversity": "sample diversity E d(S,S')",
              "val_grader_diversity": "graders' E d(Y,Y')", "val_nested_pairs": "nested sample pairs (share)"}
    for axis, (title, names, scale) in zip(axes, panels, strict=True):
        for place, name in enumerate(names):
            style = dict(color="0.5", linestyle="--") if name == "val_grader_diversity" else dict(
                color=COLORS[place % len(COLORS)], marker=".")
            label = labels.get(name, name.removeprefix("val_kl_"))
            axis.plot(steps, [row.get(name, math.nan) for row in rows], label=label, **style)
        axis.set(title=title, xlabel="step", yscale=scale)
        if scale == "linear":
            axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, ncols=2 if names is latents or len(names) > 4 else 1)
    best = min(rows, key=lambda row: row["val_energy_distance"])
    axes[-1].annotate(f"best {best['val_energy_distance']:.3f}", (best["step"], best["val_energy_distance"]),
                      xytext=(0, 8), textcoords="offset points", ha="center", color=COLORS[0],
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    _save(plt, figure, path)


def sample_sheet(cases, path, *, title, num_samples=8, classes=2, reference="grader",
                 probability="mean probability") -> None:
    """A row for each case: image, its graders' outlines, samples, mean probability.

    Of more than two classes, the segmentations are drawn in the colours of `overlay.class_colors` instead of outlines.

    Args:
        cases: dicts with image [H, W, C] float in 0..1, segmentations [R, H, W] int or None, samples [M, H, W] int,
            probability [H, W] float (of any foreground class), and name.
        path: PNG to write.
        title: what the sheet shows; says so when images are rendered.
        num_samples: samples drawn a case.
        classes: K.
        reference: what the segmentations are called: graders, or modes of flips.
        probability: title of the last column.
    """
    plt = _pyplot()
    graders = max(len(case["segmentations"]) if case["segmentations"] is not None else 0 for case in cases)
    num_samples = min([num_samples, *(len(case["samples"]) for case in cases)])
    columns = 1 + graders + num_samples + 1
    figure, axes = plt.subplots(len(cases), columns, figsize=(1.35 * columns, 1.5 * len(cases) + 0.7), squeeze=False,
                                layout="constrained")
    for number, (row, case) in enumerate(zip(axes, cases, strict=True)):
        shown = case["image"] if case["image"].shape[-1] == 3 else case["image"][..., 0]
        names = ["image", *[f"{reference} {i + 1}" for i in range(graders)],
                 *[f"sample {i + 1}" for i in range(num_samples)], probability]
        masks = [None, *(case["segmentations"] if graders else ()), *case["samples"][:num_samples], None]
        for column, (axis, name, mask) in enumerate(zip(row, names, masks, strict=True)):
            axis.set(xticks=[], yticks=[])
            if number == 0:
                axis.set_title(name, fontsize=8)
            if column == columns - 1:
                drawn = axis.imshow(case["probability"], vmin=0, vmax=1, cmap="magma")
                continue
            if mask is not None and classes > 2:
                axis.imshow(overlay.draw_classes(np.asarray(mask, int), overlay.class_colors(classes)))
                continue
            axis.imshow(shown, cmap="gray", vmin=0, vmax=1)
            if mask is not None:
                _outline(axis, mask, COLORS[1] if column <= graders else COLORS[5])
        row[0].set_ylabel(case["name"].replace("/", "\n"), fontsize=6)
    figure.colorbar(drawn, ax=axes[:, -1], fraction=0.08)
    figure.suptitle(title, fontsize=10)
    _save(plt, figure, path)


def _outline(axis, mask, color):
    if not (mask == 1).any():
        axis.text(0.5, 0.04, "nothing", transform=axis.transAxes, ha="center", fontsize=7, color=color,
                  bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.5})
        return
    axis.contour(np.asarray(mask) == 1, levels=[0.5], colors=[color], linewidths=1.2)
