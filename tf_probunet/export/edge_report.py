"""The report of a conversion: `report.json` for machines, `README.md` for people."""

import json
from pathlib import Path

from tf_probunet import markdown
from tf_probunet.export.exported import ExportedModel


def write_report(folder: Path, exported: ExportedModel, fingerprint: str, source: str, calibrated: str | None,
                 size: tuple[int, int], rows: list[dict]) -> None:
    """Writes both files.

    Args:
        folder: of the converted files.
        exported: the version that they come from.
        fingerprint: its hash.
        source: what the files were checked on, in words.
        calibrated: what int8 was calibrated on, in words.
        size: (height, width) of features and images.
        rows: what was measured of each file.
    """
    rows = [{key: value for key, value in row.items() if key != "line"} for row in rows]
    content = {"model": exported.title, "saved_model_sha256": fingerprint, "size": list(size), "checked_on": source,
               "calibrated_on": calibrated, "files": rows}
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_page(content), encoding="utf-8")


def _page(content):
    table = markdown.table(
        ("file", "bytes", "operations", "error", "GPU", "CPU"),
        [(row["file"], f"{row['bytes']:,}", f"{row['num_operations']}: {row['operations']}", f"{row['error']:.1e}",
          _gpu(row["gpu"]), f"{row['milliseconds']:.2f} ms") for row in content["files"]],
    )
    height, width = content["size"]
    lines = [
        f"# {content['model']} for devices", "",
        f"Made by `probunet convert` from the version whose manifest has sha256 `{content['saved_model_sha256']}`; "
        f"features and images of {height}x{width}.", "", table, "",
        f"Error: of logits, or of features and prior, against Keras on {content['checked_on']}; absolute where they are "
        "small, else relative. GPU: compiled for the GPU alone, and how far its numbers are from the CPU's. CPU: median "
        "of eleven runs of the whole file on one thread of the machine that converted, whatever else it was doing.",
    ]
    small = [row for row in content["files"] if "clipped" in row]
    if small:
        lines += ["", "## 8 bits", "", f"Calibrated on {content['calibrated_on']}. Energy distances at 16 samples, "
                  "means over the images above.", "", markdown.table(
                      ("file", "same class", "int8 to float32", "int8 to graders", "float32 to graders", "z clipped"),
                      [(row["file"], f"{row['same_pixels']:.2%}", f"{row['energy_distance']:.4f}",
                        f"{row['to_graders']:.4f}", f"{row['float32_to_graders']:.4f}", f"{row['clipped']:.2%}")
                       for row in small]), "",
                  "Same class: share of pixels of samples of the same latents. z clipped: share of latents drawn from the "
                  "priors with a number beyond the range of the 8 bits, which are moved to its end."]
    return "\n".join(lines) + "\n"


def _gpu(verdict):
    return f"yes, {verdict['difference']:.0e}" if "difference" in verdict else f"not checked: {verdict['why_not']}"
