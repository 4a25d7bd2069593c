"""probunet show"""

import json

from absl import flags

from tf_probunet.cli import common

USAGE = "--data DIR --split val [--output FILE.png] [--preset NAME] [--json FILE]"
FLAGS = common.make_flags()
flags.DEFINE_string("data", None, "dataset folder", flag_values=FLAGS)
flags.DEFINE_string("split", "val", "split of the dataset", flag_values=FLAGS)
flags.DEFINE_string("output", None, "PNG to draw; figures only if not given", flag_values=FLAGS)
flags.DEFINE_string("preset", None, "draw images as this preset augments them, instead of all graders' outlines",
                    flag_values=FLAGS)
flags.DEFINE_integer("num_images", None, "images drawn, spread evenly; 24, with --preset 5, if not given", 1,
                     flag_values=FLAGS)
common.define_crop(FLAGS, "HEIGHT,WIDTH of the central crop; whole images if not given, with --preset what it cuts out")
common.define_window(FLAGS)
flags.DEFINE_integer("views", 6, "augmented views of each image, with --preset", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the augmentation", flag_values=FLAGS)
flags.DEFINE_integer("limit", None, "take figures of so many images, spread evenly", 1, flag_values=FLAGS)
flags.DEFINE_string("json", None, "file for the figures", flag_values=FLAGS)
REQUIRED = ("data",)


def main(values, _):
    from tf_probunet.contact_sheet import augmented_sheet, contact_sheet
    from tf_probunet.data.dataset import load_info
    from tf_probunet.presets import preset
    from tf_probunet.staging import replace_file
    from tf_probunet.statistics import dataset_statistics, text

    info, crop_size = load_info(values.data).with_window(common.window(values)), common.crop(values)
    experiment = preset(values.preset) if values.preset else None
    if experiment and not values.output:
        raise ValueError("--preset draws a page. Say where to, for instance --output augmented.png.")
    if experiment:
        augmented_sheet(info, values.split, values.output, experiment.augmentation, crop_size or experiment.crop_size,
                        name=experiment.name, num_images=values.num_images or 5, num_views=values.views,
                        seed=values.seed)
    elif values.output:
        contact_sheet(info, values.split, values.output, num_images=values.num_images or 24, crop_size=crop_size)
    figures = dataset_statistics(info, values.split, values.limit, crop_size=crop_size,
                                 progress=common.progress("images"))
    common.report(text(figures))
    if values.json:
        with replace_file(values.json) as file:
            json.dump(figures.to_dict(), file, indent=1)
            file.write("\n")
        common.report(f"Figures: {values.json}")
    if values.output:
        common.report(f"Page: {values.output}")
