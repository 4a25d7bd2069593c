"""probunet sample"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--saved_model DIR --image FILE --output DIR [--num_samples 16] [--seed 0]"
FLAGS = common.make_flags()
flags.DEFINE_string("saved_model", None, "saved_models/NAME (newest version) or saved_models/NAME/VERSION",
                    flag_values=FLAGS)
flags.DEFINE_string("image", None, "PNG (8 or 16 bit) or NPY", flag_values=FLAGS)
flags.DEFINE_string("output", None, "folder to make", flag_values=FLAGS)
flags.DEFINE_integer("num_samples", 16, "segmentations to draw", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the samples", flag_values=FLAGS)
common.define_crop(FLAGS, "HEIGHT,WIDTH of the central crop; the whole image if not given")
REQUIRED = ("saved_model", "image", "output")


def main(values, _):
    from tf_probunet.export.exported import ExportedModel
    from tf_probunet.sampling import sample_to_folder

    model = ExportedModel(values.saved_model)
    files = sample_to_folder(model, values.image, values.output, num_samples=values.num_samples, seed=values.seed,
                             crop_size=common.crop(values))
    if model.trained_size and model.trained_size != common.crop(values):
        height, width = model.trained_size
        common.report(f"The model was trained on {height}x{width} pixels, and its figures hold for that size: "
                      f"--crop_size {height},{width} takes the middle of the image.")
    common.report(f"{len(files)} files in {values.output}, among them {files[0].name}, samples.npy, probability.png")
