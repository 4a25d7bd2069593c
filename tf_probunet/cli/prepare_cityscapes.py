"""probunet prepare cityscapes"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--source FOLDER_OR_ZIP [FOLDER_OR_ZIP ...] --output DIR [--scale 4] [--noflips] [-- BEAM_FLAGS]"
POSITIONAL = True  # further sources, and Beam's own flags after --
FLAGS = common.make_flags()
flags.DEFINE_multi_string("source", None, "folder or zip with leftImg8bit/<split>/<city>/*_leftImg8bit.png, "
                          "gtFine/<split>/<city>/*_gtFine_labelIds.png, or both; may be given several times",
                          flag_values=FLAGS)
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
flags.DEFINE_integer("scale", 4, "divide height and width by this", 1, flag_values=FLAGS)
flags.DEFINE_boolean("flips", True, "make five classes ambiguous, as in the paper (24 classes); --noflips keeps the 19",
                     flag_values=FLAGS)
flags.DEFINE_list("val_cities", None, "cities of folder train that become val; darmstadt,monchengladbach,ulm in "
                  "Cityscapes itself if not given, folder val in other data", flag_values=FLAGS)
flags.DEFINE_boolean("split_within_cities", False, "let splits share cities; figures on val are then optimistic",
                     flag_values=FLAGS)
common.define_parts(FLAGS)
REQUIRED = ("source", "output")


def main(values, positional):
    from tf_probunet.cli.verify import describe
    from tf_probunet.pipelines.prepare_cityscapes import prepare_cityscapes

    sources = [*values.source, *(word for word in positional if not word.startswith("--"))]
    beam_flags = [word for word in positional if word.startswith("--")]
    prepare_cityscapes(sources, values.output, scale=values.scale, flips=values.flips, val_cities=values.val_cities,
                       split_within_cities=values.split_within_cities, allow_rejects=values.allow_rejects,
                       execute=common.executor(values, beam_flags), report=common.report)
    describe(values.output)
