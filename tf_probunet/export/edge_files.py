"""`probunet convert`: files for devices, each checked before it is kept, and a report of all of them."""

import os
import shutil
from pathlib import Path

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.edge.combiner import Combiner
from tf_probunet.edge.runtime import CompiledFile
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export import edge_checks as checks
from tf_probunet.export.edge_examples import Examples, calibration, examples_of, made_up_examples
from tf_probunet.export.edge_report import write_report
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.litert import PRECISIONS, convert_combiner, convert_trunk, fingerprint
from tf_probunet.models.segmenter import check_size
from tf_probunet.staging import disk_errors, refuse_existing, stage_folder
from tf_probunet.suggest import unknown

INT8_GPU_BOUND = 0.5  # a GPU computes the 8 bits in floating point: steps fall elsewhere


def convert(exported: ExportedModel, output: str | os.PathLike, *, num_samples=(1, 8, 16), precisions=("float32",),
            size: tuple[int, int] | None = None, trunk=False, data: DatasetInfo | None = None, num_images=64, seed=(0, 0),
            require_gpu=False, report=print) -> Path:
    """Writes the combiner, and the trunk too if wanted, as LiteRT files with a report beside them.

    Args:
        exported: the version.
        output: folder to make.
        num_samples: a combiner for each of these.
        precisions: and for each of these, of "float32", "float16" and "int8".
        size: (height, width) of the features; the size of the crops in training if not given.
        trunk: the trunk too, in float32 and float16.
        data: dataset for the checks on split "val" and for calibration on "train"; int8 needs it.
        num_images: of each of these splits.
        seed: two integers, of the latents that are drawn.
        require_gpu: an error where no GPU is there to check the files on.
        report: called with lines of text for the user.
    Returns:
        the folder: `combiner-HxW-M-PRECISION.tflite`, `trunk-HxW-PRECISION.tflite`, `report.json`, `README.md`.
    Raises:
        FileExistsError: `output` is there already.
        ValueError: an argument does not fit, or a file did not pass; then nothing is kept.
        OSError: the disk is full.
    """
    size = _check(exported, num_samples, precisions, size, data)
    refuse_existing(output)
    output = Path(output)
    examples = examples_of(exported, data, "val", size, num_images) if data else made_up_examples(exported, size)
    known = examples_of(exported, data, "train", size, num_images) if "int8" in precisions else None
    with disk_errors(output):
        staging = stage_folder(output)
        try:
            makers = _Files(exported, staging, size, examples, known, data, seed, require_gpu)
            rows = []
            for precision in precisions:
                for count in num_samples:
                    rows.append(makers.combiner(count, precision))
                    report(rows[-1]["line"])
            for precision in precisions if trunk else ():
                if precision == "int8":
                    report("No trunk in int8: it is written in float32 and float16 alone.")
                    continue
                rows.append(makers.trunk(precision))
                report(rows[-1]["line"])
            write_report(staging, exported, fingerprint(exported), examples.source, known and known.source, size, rows)
            os.rename(staging, output)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return output


class _Files:
    """Makes the files of one conversion and checks each."""

    def __init__(self, exported, folder, size, examples: Examples, known: Examples | None, data, seed, require_gpu):
        self.exported, self.folder, self.size, self.examples, self.known = exported, folder, size, examples, known
        self.data, self.seed, self.require_gpu = data, seed, require_gpu

    def combiner(self, num_samples, precision) -> dict:
        name = f"combiner-{self.size[0]}x{self.size[1]}-{num_samples}-{precision}.tflite"
        numbers = (lambda: calibration(self.known, num_samples, self.seed)) if precision == "int8" else None
        file = TfliteFile(convert_combiner(self.exported, self.size, num_samples, precision, numbers))
        checks.check_operations(file, name, checks.COMBINER_OPERATIONS[precision])
        path = self.folder / name
        path.write_bytes(file.content)
        combiner = Combiner(file.content, "cpu")
        facts = {"error": checks.combiner_error(self.exported, combiner, self._few(), self.seed)}
        if precision == "int8":
            whole = Combiner(convert_combiner(self.exported, self.size, num_samples), "cpu")
            facts |= checks.compare_int8(
                name, whole, combiner, self.examples, 16, self.seed, num_classes=self.exported.num_classes,
                classes=self.data.scored_classes, ignore_label=self.data.ignore_label,
            )
            facts["clipped"] = checks.clipped_share(file, self.examples, self.seed)
        else:
            checks.check_bound(name, facts["error"], checks.BOUNDS[precision])
        return self._row(path, file, precision, facts, INT8_GPU_BOUND if precision == "int8" else 1e-4)

    def trunk(self, precision) -> dict:
        name = f"trunk-{self.size[0]}x{self.size[1]}-{precision}.tflite"
        file = TfliteFile(convert_trunk(self.exported, self.size, precision))
        checks.check_operations(file, name, checks.TRUNK_OPERATIONS)
        path = self.folder / name
        path.write_bytes(file.content)
        facts = {"error": checks.trunk_error(CompiledFile(file.content, "cpu"), self._few())}
        rounded = checks.HALF_FEATURES_BOUND if self.exported.manifest.get("half_features") else 0.0
        checks.check_bound(name, facts["error"], max(checks.TRUNK_BOUNDS[precision], rounded))
        return self._row(path, file, precision, facts, 1e-2)

    def _few(self):
        """Enough images for the largest error, few enough for a large network."""
        return Examples(*(value[:8] if hasattr(value, "shape") else value for value in self.examples))

    def _row(self, path, file, precision, facts, gpu_bound) -> dict:
        gpu = checks.check_gpu(path, path.name, gpu_bound, self.require_gpu)
        row = {
            "file": path.name, "precision": precision, "bytes": len(file.content),
            "num_operations": len(file.operations), "operations": file.operation_counts(), "gpu": gpu,
            "milliseconds": checks.milliseconds(CompiledFile(file.content, "cpu")), **facts,
        }
        where = f"compiled for the GPU alone, {gpu['difference']:.0e} from the CPU" if "difference" in gpu else \
            f"not checked on a GPU: {gpu['why_not']}"
        row["line"] = (f"{row['file']}: {row['bytes']:,} bytes, {row['num_operations']} operations "
                       f"({row['operations']}), error {row['error']:.1e}, {where}")
        return row


def _check(exported, num_samples, precisions, size, data) -> tuple[int, int]:
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ValueError(unknown("precision", precision, PRECISIONS))
    if not num_samples or min(num_samples) < 1:
        raise ValueError(f"--num_samples must be numbers of 1 or more. Received: {list(num_samples)}.")
    if "int8" in precisions and data is None:
        raise ValueError("int8 needs real images for the ranges of its 8 bits: give --data, a dataset like that of the "
                         "training. float32 and float16 need none.")
    if data is not None and data.num_classes != exported.num_classes:
        raise ValueError(f"{exported.title} segments {exported.num_classes} classes, the dataset {data.folder} has "
                         f"{data.num_classes}. Give a dataset like that of the training.")
    channels = exported.config["image_channels"]
    if data is not None and data.image.channels != channels:
        raise ValueError(f"{exported.title} takes images of {channels} channel{'s' * (channels > 1)}, those of the "
                         f"dataset {data.folder} have {data.image.channels}. Give a dataset like that of the training.")
    size = size or exported.trained_size
    if size is None:
        raise ValueError(f"{exported.title} does not say on what size it was trained. Give --size HEIGHT,WIDTH.")
    check_size(*size, 2 ** (len(exported.config["channels"]) - 1))
    return tuple(size)
