"""probunet convert"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--saved_model saved_models/NAME --output DIR [--num_samples 1,8,16] [--precision float32,float16,int8]"
FLAGS = common.make_flags()
flags.DEFINE_string("saved_model", None, "version that `probunet export` wrote, or the folder of its versions",
                    flag_values=FLAGS)
flags.DEFINE_string("output", None, "folder to make", flag_values=FLAGS)
flags.DEFINE_list("num_samples", ["1", "8", "16"], "a combiner for each of these numbers of samples", flag_values=FLAGS)
flags.DEFINE_list("precision", ["float32"], "and for each of these: float32, float16, int8", flag_values=FLAGS)
flags.DEFINE_list("size", None, "HEIGHT,WIDTH of images and features, or one number for a square; that of the training's "
                  "crops if not given", flag_values=FLAGS)
flags.DEFINE_boolean("trunk", False, "the trunk too, for devices that do all themselves; float32 and float16",
                     flag_values=FLAGS)
flags.DEFINE_string("data", None, "dataset for calibration (split train) and checks (split val); int8 needs it",
                    flag_values=FLAGS)
flags.DEFINE_integer("num_images", 64, "images of each split", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the latents that are drawn", flag_values=FLAGS)
flags.DEFINE_boolean("require_gpu", False, "fail where no GPU is there to check the files on", flag_values=FLAGS)
REQUIRED = ("saved_model", "output")


def main(values, _):
    from tf_probunet.data.dataset import load_info
    from tf_probunet.export.edge_files import convert
    from tf_probunet.export.exported import ExportedModel
    from tf_probunet.quiet import silence_exit

    silence_exit()
    output = convert(
        ExportedModel(values.saved_model), values.output, num_samples=common.integers(values.num_samples, "num_samples"),
        precisions=values.precision, size=common.size(values.size, "size"), trunk=values.trunk,
        data=load_info(values.data) if values.data else None, num_images=values.num_images, seed=(values.seed, 0),
        require_gpu=values.require_gpu, report=common.report,
    )
    common.report(f"{output}: see README.md there.")
