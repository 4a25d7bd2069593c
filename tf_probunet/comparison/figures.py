"""Draws the figures of a comparison beside its page, from its numbers and records."""

from pathlib import Path

import numpy as np

from tf_probunet import overlay
from tf_probunet.comparison import plots
from tf_probunet.comparison.pictures import PLANE_EXTENT
from tf_probunet.comparison.entries import SAMPLE_COUNTS
from tf_probunet.comparison.sheet import GRADER_COLOR, SAMPLE_COLOR, draw_segmentation, palette, sample_sheet
from tf_probunet.comparison.tables import MOST
from tf_probunet.sheet_page import rgb

PLANE_TILE = 64  # most pixels a side of a segmentation in the plane


def draw_figures(plan, results, numbers, cases, facts, output) -> dict[str, str]:
    """Draws all figures that the records allow.

    Args:
        plan: `tf_probunet.comparison.plan.Plan`.
        results: `tf_probunet.comparison.tables.Results`, illustrations among them.
        numbers: as `tf_probunet.comparison.tables.comparison_figures` gives them.
        cases: as `tf_probunet.comparison.pictures.read_cases` gives them.
        facts: of any record, for what the data is.
        output: folder to write to.
    Returns:
        file names by figure: distances, presence, training, samples_1.., and perhaps modes and plane.
    """
    output = Path(output)
    files = {"distances": "energy_distance.png", "training": "training.png"}
    compared = [result for result in results if result.entry.role != "illustration"]
    entries = numbers["entries"]
    where = f"{numbers['num_images']:,} images. Shapes: images; bars: middle half; diamonds: mean"
    if numbers["num_groups"] > 1:
        where += " with 95 % interval"
    plots.distance_distributions(
        [{"label": entry["label"], "role": entry["role"],
          "values": {count: result.distances(count).ravel() for count in SAMPLE_COUNTS},
          "mean": {count: entry["energy_distance"][str(count)]["mean"] for count in SAMPLE_COUNTS},
          "interval": {count: entry["energy_distance"][str(count)]["interval_95"] for count in SAMPLE_COUNTS}}
         for entry, result in zip(entries, compared, strict=True)],
        {count: numbers["floors"][str(count)] for count in SAMPLE_COUNTS}, output / files["distances"],
        title=f"{plan.title}: {where}",
    )
    plots.training_curves(
        [{"label": result.entry.label, "role": result.entry.role,
          "runs": [record.facts["training"]["history"] for record in result.largest]} for result in compared],
        output / files["training"], title="Energy distance on validation images; marked: the weights that were chosen",
    )
    if len(numbers["presence"]) > 1:
        files["presence"] = "presence.png"
        _presence(numbers, output / files["presence"])
    if "modes" in entries[0]:
        files["modes"] = "mode_frequencies.png"
        _modes(entries, output / files["modes"])
    files |= _sheets(plan, compared, cases, facts, output)
    planes = [result for result in results if "plane" in result.largest[0].pictures]
    if planes:
        files["plane"] = "latent_plane.png"
        _planes(planes, cases, facts, output / files["plane"])
    return files


def _presence(numbers, path):
    words = {"disagreed": "graders disagree on presence", "agreed": "graders agree on presence"}
    kinds = numbers["presence"]
    plots.agreement(
        [{"label": entry["label"], "role": entry["role"],
          **{what: {name: entry["presence"][name][str(MOST)][key] for name in kinds}
             for what, key in (("mean", "mean"), ("interval", "interval_95"))}} for entry in numbers["entries"]],
        [(name, f"{words[name]} ({kinds[name]['num_images']:,} images)", kinds[name]["floors"][str(MOST)])
         for name in kinds],
        path, title=f"Energy distance at {MOST} samples, means with 95 % intervals", xlabel="energy distance",
    )


def _modes(entries, path):
    plots.mode_frequencies(
        [{"label": entry["label"], "role": entry["role"],
          "frequencies": np.array(entry["modes"]["first"]["frequencies"]),
          "note": f"total variation {entry['modes']['first']['against_truth']['total_variation']:.3f}, "
                  f"{entry['modes']['first']['against_truth']['num_hit']:.3g} of "
                  f"{entry['modes']['first']['against_truth']['num_modes']:.0f} modes"} for entry in entries],
        np.array(entries[0]["modes"]["first"]["truth"]), path,
        title="How often samples show each mode, and how often a perfect sampler does",
    )


def _sheets(plan, results, cases, facts, output):
    data, files = facts["data"], {}
    flips = "flips" in data
    for number, name in enumerate(cases["source_ids"].tolist()):
        rows = [(result.entry.label, result.largest[0].pictures["samples"][number],
                 result.largest[0].pictures["probability"][number]) for result in results]
        weights = cases["weights"][number]
        known = weights > 0
        names = [f"mode, {100 * weight:.0f} %" if flips else f"grader {place + 1}"
                 for place, weight in enumerate(weights[known])]
        case = {"image": cases["images"][number], "segmentations": cases["segmentations"][number][known],
                "references": names}
        files[f"samples_{number + 1}"] = f"samples_{number + 1}.png"
        sample_sheet(
            case, rows, output / files[f"samples_{number + 1}"], classes=data["classes"],
            colors=palette(data["classes"], data.get("flips", ())), ignore_label=data["ignore_label"],
            title=f"{plan.title}: image {number + 1} of {len(cases['images'])}, {name}",
            footer=f"{data['source'].rstrip('.')}. Licence: {data['licence'].rstrip('.')}. {plan.attribution}",
            probability="P(flipped)" if flips else "mean prob.",
        )
    return files


def _planes(results, cases, facts, path):
    data, planes = facts["data"], []
    colors = palette(data["classes"], data.get("flips", ()))
    of_graders, of_samples = (GRADER_COLOR, SAMPLE_COLOR) if colors is None else (colors, colors)
    for result in results:
        pictures = result.largest[0].pictures
        for number, plane in enumerate(pictures["plane"]):
            base = overlay.to_rgb(overlay.resize(cases["images"][number] / 255.0, PLANE_TILE))
            panels = [[draw_segmentation(base, mask, of_samples, data["ignore_label"], thickness=1)[0] for mask in row]
                      for row in plane]
            known = cases["weights"][number] > 0
            graders = [draw_segmentation(base, mask, of_graders, data["ignore_label"])[0]
                       for mask in cases["segmentations"][number][known]]
            seam = np.full((base.shape[0], 2, 3), rgb("#ffffff"), np.uint8)
            strip = [part for panel in (base, *graders) for part in (panel, seam)][:-1]
            planes.append({
                "name": f"{cases['source_ids'][number]}: the image and its "
                        + ("likeliest modes" if "flips" in data else "graders"),
                "panels": np.array(panels), "image": np.concatenate(strip, axis=1), "extent": PLANE_EXTENT,
                "mean": pictures["plane_mean"][number], "stddev": pictures["plane_stddev"][number],
                "posteriors": pictures["plane_posteriors"][number],
            })
    title = f"{results[0].entry.label}: segmentations over the prior's plane"
    plots.latent_planes(planes, path, title=title)
