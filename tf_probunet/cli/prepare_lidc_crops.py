"""probunet prepare lidc-crops"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--source FOLDER_OR_ZIP [FOLDER_OR_ZIP ...] --output DIR"
POSITIONAL = True  # further sources
FLAGS = common.make_flags()
flags.DEFINE_multi_string("source", None, "folder or zip with images/<patient>/*.png and gt/<patient>/*_l0..3.png; "
                          "may be given several times", flag_values=FLAGS)
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
flags.DEFINE_float("val_fraction", 0.15, "share of patients for val where the source names no split", 0, 1,
                   flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of that split", flag_values=FLAGS)
REQUIRED = ("source", "output")


def main(values, positional):
    from tf_probunet.cli.verify import describe
    from tf_probunet.data.lidc_crops import prepare_lidc_crops

    prepare_lidc_crops([*values.source, *positional], values.output, val_fraction=values.val_fraction,
                       seed=values.seed, progress=common.progress("images"))
    describe(values.output)
