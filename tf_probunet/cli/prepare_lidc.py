"""probunet prepare lidc"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--dicom DIR --output DIR [--num_processes N] [--allow_rejects] [-- BEAM_FLAGS]"
POSITIONAL = True  # Beam's own flags, after --
EPILOGUE = (
    "--dicom is the folder of the download, whatever the folders in it; scans that are not there are not missed. What\n"
    "is finished is kept beside the output until the dataset is whole: after a kill, run the same command again.\n"
    "Needs pip install 'tf_probunet[lidc,dicom,beam]'. On another runner: -- --runner=FlinkRunner --flink_master=..."
)
FLAGS = common.make_flags()
flags.DEFINE_string("dicom", None, "folder with the DICOM files of LIDC-IDRI", flag_values=FLAGS)
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
flags.DEFINE_integer("size", 180, "height and width of a crop in pixels", 1, flag_values=FLAGS)
flags.DEFINE_float("spacing_mm", 0.5, "side of a pixel; 0 keeps each scan's own", 0, flag_values=FLAGS)
flags.DEFINE_string("splits", None, "CSV patient,split in place of a split by lot, 722:144:144", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of that lot", flag_values=FLAGS)
flags.DEFINE_boolean("dry_run", False, "only count what the whole archive would give, by split; needs no DICOM",
                     flag_values=FLAGS)
common.define_parts(FLAGS)


def main(values, positional):
    from tf_probunet.cli.verify import describe
    from tf_probunet.data.lidc import Grid
    from tf_probunet.pipelines.prepare_lidc import count_lidc, prepare_lidc

    if values.dry_run:
        for name, count in count_lidc(values.splits, values.seed).items():
            common.report(f"{name}: " + ", ".join(f"{number:,} {what}" for what, number in count.items()))
        return
    for name in ("dicom", "output"):
        if values[name].value is None:
            raise ValueError(f"--{name} is needed: {values[name].help}. See: probunet prepare lidc --help")
    words = [word for word in positional if not word.startswith("--")]
    if words:
        raise ValueError(f"--dicom takes one folder, whatever the folders in it. Received more: {', '.join(words)}. Give "
                         "the folder that holds all of them, or links to them.")
    prepare_lidc(values.dicom, values.output, grid=Grid(values.size, values.spacing_mm or None), splits=values.splits,
                 seed=values.seed, allow_rejects=values.allow_rejects, execute=common.executor(values, positional),
                 report=common.report)
    describe(values.output)
