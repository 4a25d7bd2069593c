"""probunet prepare folder"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--images DIR --grader DIR [--grader DIR ...] --output DIR [--groups FILE.csv]"
FLAGS = common.make_flags()
flags.DEFINE_string("images", None, "folder of images: PNG, JPEG, TIFF, NIfTI or NPY", flag_values=FLAGS)
flags.DEFINE_multi_string("grader", None, "folder of one grader's masks, named as the images; once for each grader",
                          flag_values=FLAGS)
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
flags.DEFINE_string("groups", None, "CSV image,group[,split]: which images are of one patient", flag_values=FLAGS)
flags.DEFINE_enum("slices", "annotated", ["annotated", "all"], "which slices of volumes are kept", flag_values=FLAGS)
flags.DEFINE_boolean("skip_ungraded", False, "leave out images without any mask", flag_values=FLAGS)
common.define_own_data(FLAGS)
REQUIRED = ("images", "grader", "output")


def main(values, _):
    from tf_probunet.cli.verify import describe
    from tf_probunet.data.folder import prepare_folder

    prepare_folder(values.images, values.grader, values.output, groups=values.groups, slices=values.slices,
                   skip_ungraded=values.skip_ungraded, report=common.report, progress=common.progress("files"),
                   **common.own_data(values))
    describe(values.output)
