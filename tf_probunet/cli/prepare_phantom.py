"""probunet prepare phantom"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--output DIR"
FLAGS = common.make_flags()
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
flags.DEFINE_integer("num_train", 600, "training images", 1, flag_values=FLAGS)
flags.DEFINE_integer("num_val", 120, "validation images, of other patients", 1, flag_values=FLAGS)
flags.DEFINE_string("example", None, "also write one validation image to this PNG", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the choice of nodules and of the rendering", flag_values=FLAGS)
REQUIRED = ("output",)


def main(values, _):
    from tf_probunet.cli.verify import describe
    from tf_probunet.data.dataset import load_info
    from tf_probunet.data.phantom import prepare_phantom
    from tf_probunet.data.reading import encoded_image
    from tf_probunet.staging import replace_file

    prepare_phantom(values.output, num_train=values.num_train, num_val=values.num_val, seed=values.seed,
                    progress=common.progress("images"))
    describe(values.output)
    if values.example:
        with replace_file(values.example, "wb") as file:
            file.write(encoded_image(load_info(values.output), "val"))
