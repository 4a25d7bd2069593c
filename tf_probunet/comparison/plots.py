"""Figures of a comparison: distributions, mode frequencies, agreement, training, the latent plane.

matplotlib is imported by `tf_probunet.plots` alone, when a figure is drawn.
"""

import textwrap

import numpy as np

from tf_probunet.plots import COLORS, _pyplot, _save

ROLE_COLORS = {"reference": COLORS[0], "baseline": COLORS[1], "ablation": COLORS[2]}
GREY = "#767676"


def distance_distributions(rows, floors, path, *, title) -> None:
    """Energy distances of all images, a row for each model, a panel for each number of samples (figure 4).

    Args:
        rows: dicts of label, role, and by number of samples n `values` [B], `mean` and `interval` (low, high) or None.
        floors: what a perfect sampler has on average, by n.
        path: PNG to write.
        title: of the figure.
    """
    plt = _pyplot()
    counts = list(floors)
    everything = np.concatenate([row["values"][count] for row in rows for count in counts])
    low, high = min(0.0, float(everything.min())), float(everything.max()) * 1.06 + 1e-9
    figure, axes = plt.subplots(1, len(counts), figsize=(2.9 * len(counts) + 1.6, 0.62 * len(rows) + 1.5), sharey=True,
                                sharex=True, squeeze=False, layout="constrained")
    for axis, count in zip(axes[0], counts, strict=True):
        axis.axvline(floors[count], color=GREY, linestyle="--", linewidth=1)
        axis.text(floors[count], -0.62, " perfect sampler", color=GREY, fontsize=7, va="center")
        for place, row in enumerate(rows):
            color, values = ROLE_COLORS[row["role"]], row["values"][count]
            shares, edges = np.histogram(values, bins=48, range=(low, high))
            smooth = np.convolve(shares, (0.25, 0.5, 0.25), mode="same")
            profile = 0.38 * smooth / max(smooth.max(), 1e-9)
            axis.fill_between((edges[:-1] + edges[1:]) / 2, place - profile, place + profile, color=color, alpha=0.28,
                              linewidth=0)
            quarters = np.quantile(values, (0.25, 0.5, 0.75))
            axis.plot(quarters[[0, 2]], [place, place], color=color, linewidth=5, alpha=0.55, solid_capstyle="butt")
            axis.plot(quarters[1], place, color="white", marker="|", markersize=8, markeredgewidth=1.5)
            _mean(axis, row["mean"][count], row["interval"][count], place, color)
        axis.set(title=f"{count} sample{'s' if count > 1 else ''}", xlim=(low, high), ylim=(len(rows) - 0.4, -0.85),
                 xlabel="energy distance of an image")
        axis.grid(axis="x", alpha=0.3)
    _name_rows(axes[0][0], rows)
    figure.suptitle(title, fontsize=10)
    _save(plt, figure, path)


def agreement(rows, panels, path, *, title, xlabel) -> None:
    """Means with intervals, a row for each model, a panel for each group of images (appendix E).

    Args:
        rows: dicts of label, role, and by panel name `mean` and `interval`.
        panels: (name, title, floor) of each group of images.
        path: PNG to write.
        title: of the figure.
        xlabel: what is measured.
    """
    plt = _pyplot()
    reach = max((row["interval"][name] or (0, row["mean"][name]))[1] for row in rows for name, *_ in panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels) + 1.6, 0.34 * len(rows) + 1.7), sharey=True,
                                sharex=True, squeeze=False, layout="constrained")
    for axis, (name, heading, floor) in zip(axes[0], panels, strict=True):
        axis.axvline(floor, color=GREY, linestyle="--", linewidth=1)
        axis.text(floor, -0.62, " perfect sampler", color=GREY, fontsize=7, va="center")
        for place, row in enumerate(rows):
            _mean(axis, row["mean"][name], row["interval"][name], place, ROLE_COLORS[row["role"]], label=True)
        axis.set(xlabel=xlabel, xlim=(0, 1.15 * reach), ylim=(len(rows) - 0.4, -0.9))
        axis.set_title(heading, fontsize=9.5)
        axis.grid(axis="x", alpha=0.3)
    _name_rows(axes[0][0], rows)
    figure.suptitle(title, fontsize=10)
    _save(plt, figure, path)


def mode_frequencies(rows, truth, path, *, title) -> None:
    """How often samples show each mode, against its probability (figure 5).

    Args:
        rows: dicts of label, role, `frequencies` [modes], and `note` for the panel's title.
        truth: [modes] what a perfect sampler shows on average.
        path: PNG to write.
        title: of the figure.
    """
    plt = _pyplot()
    order = np.argsort(-truth, kind="stable")
    order = order[truth[order] > 0]
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.3 * columns, 2.35 * lines + 0.8), sharex=True, sharey=True,
                                squeeze=False, layout="constrained")
    places = np.arange(1, len(order) + 1)
    least = truth[order].min() / 8  # where modes that were never sampled are drawn
    highest = max(truth.max(), max(row["frequencies"].max() for row in rows))
    for axis in axes.flat[len(rows):]:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        color, frequencies = ROLE_COLORS[row["role"]], row["frequencies"][order]
        hit = frequencies > 0
        axis.bar(places, truth[order], color="#c8c8c8", width=0.9)
        axis.plot(places[hit], np.maximum(frequencies[hit], least), ".", color=color, markersize=7)
        axis.plot(places[~hit], np.full((~hit).sum(), least), "x", color=color, markersize=5)
        axis.set(yscale="log", xlim=(0, len(order) + 1), ylim=(least / 1.6, highest * 1.6))
        axis.set_title(f"{row['label']}\n{row['note']}", fontsize=9)
        axis.grid(axis="y", alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of samples")
    for place in range(columns):
        axes[min(lines - 1, (len(rows) - 1 - place) // columns), place].set_xlabel("mode, the most probable first")
        axes[min(lines - 1, (len(rows) - 1 - place) // columns), place].tick_params(labelbottom=True)
    handles = [plt.Rectangle((0, 0), 1, 1, color="#c8c8c8"), plt.Line2D([], [], color=GREY, marker=".", linestyle=""),
               plt.Line2D([], [], color=GREY, marker="x", linestyle="")]
    figure.legend(handles, ("perfect sampler", "samples", "never sampled"), loc="outside lower center", ncols=3,
                  frameon=False, fontsize=8)
    figure.suptitle(textwrap.fill(title, 60 * columns), fontsize=10)
    _save(plt, figure, path)


def training_curves(rows, path, *, title) -> None:
    """Energy distance on the validation images while training, a line for each run; the step that was chosen is marked.

    Args:
        rows: dicts of label, role and `runs`, lists of history rows with step and val_energy_distance.
        path: PNG to write.
        title: of the figure.
    """
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(9, 4.6), layout="constrained")
    styles = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
    seen: dict[str, int] = {}
    for row in rows:
        place = seen.setdefault(row["role"], 0) % len(styles)
        style, marker = styles[place], "os^DvP"[place]
        seen[row["role"]] += 1
        for number, history in enumerate(row["runs"]):
            steps, values = ([line[name] for line in history] for name in ("step", "val_energy_distance"))
            best = int(np.argmin(values))
            axis.plot(steps, values, linestyle=style, color=ROLE_COLORS[row["role"]], linewidth=1.3, alpha=0.8,
                      marker=marker, markevery=[best], markersize=6, label=None if number else row["label"])
    axis.set(xlabel="step", ylabel="energy distance on validation images", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title, fontsize=10)
    _save(plt, figure, path)


def latent_planes(planes, path, *, title) -> None:
    """Segmentations over the plane of two latents, under the prior's ellipses at 1, 2 and 3 standard deviations.

    Args:
        planes: dicts of `name`, `panels` [side, side, h, w, 3] uint8, first row highest, `mean` and `stddev` [2] of
            the prior, `extent` in standard deviations, `posteriors` [R, 2], the posterior's mean for each grader in
            standard deviations of the prior from its mean, and `image` [h, w, 3] uint8.
        path: PNG to write.
        title: of the figure.
    """
    plt = _pyplot()
    side, _, height, width = planes[0]["panels"].shape[:4]
    inches = 6.2
    tall = inches * height / width
    low = max(inches * plane["image"].shape[0] / plane["image"].shape[1] for plane in planes)
    figure, axes = plt.subplots(2, len(planes), figsize=((inches + 0.7) * len(planes), tall + low + 1.3), squeeze=False,
                                height_ratios=(low, tall), layout="constrained")
    for (above, axis), plane in zip(axes.T, planes, strict=True):
        above.imshow(plane["image"], interpolation="nearest")
        above.set(xticks=[], yticks=[])
        above.set_title(plane["name"], fontsize=8)
        panels = plane["panels"].copy()
        panels[:, :, 0], panels[:, :, :, 0] = 255, 255  # seams
        mosaic = panels.transpose(0, 2, 1, 3, 4).reshape(side * height, side * width, 3)
        reach = plane["extent"] * side / (side - 1)  # the middle of the outermost segmentations is at the extent
        axis.imshow(mosaic, extent=(-reach, reach, -reach, reach), interpolation="nearest", aspect=height / width)
        turn = np.linspace(0, 2 * np.pi, 200)
        for radius in range(1, int(plane["extent"]) + 1):
            axis.plot(radius * np.cos(turn), radius * np.sin(turn), color="white", linewidth=2.6)
            axis.plot(radius * np.cos(turn), radius * np.sin(turn), color=COLORS[1], linewidth=1.3)
        ticks = np.arange(-int(plane["extent"]), int(plane["extent"]) + 1)
        for place, setter in enumerate((axis.set_xticks, axis.set_yticks)):
            setter(ticks, [f"{plane['mean'][place] + tick * plane['stddev'][place]:.2f}" for tick in ticks], fontsize=7)
        for number, place in enumerate(plane["posteriors"], 1):
            axis.plot(*np.clip(place, -reach, reach), marker="o", markersize=9, color="white", markeredgecolor="black",
                      clip_on=False, zorder=3)
            axis.annotate(f"{number}", np.clip(place, -reach, reach), ha="center", va="center_baseline", fontsize=6.5,
                          zorder=4, annotation_clip=False)
        axis.set(xlabel="first latent", ylabel="second latent", xlim=(-reach, reach), ylim=(-reach, reach))
    figure.suptitle(title, fontsize=10)
    _save(plt, figure, path)


def _mean(axis, mean, interval, place, color, label=False):
    if interval is not None:
        axis.plot(interval, [place, place], color="black", linewidth=1.2)
    axis.plot(mean, place, marker="D", color=color, markeredgecolor="black", markersize=5)
    if label:
        axis.annotate(f"{mean:.3f}", (mean if interval is None else interval[1], place), xytext=(5, 0),
                      textcoords="offset points", va="center", fontsize=7.5)


def _name_rows(axis, rows):
    axis.set_yticks(range(len(rows)), [textwrap.fill(row["label"], 24) for row in rows], fontsize=8.5)
    for tick, row in zip(axis.get_yticklabels(), rows, strict=True):
        tick.set_color(ROLE_COLORS[row["role"]])
