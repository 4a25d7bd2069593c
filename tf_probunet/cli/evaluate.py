"""probunet evaluate"""

import json

from absl import flags

from tf_probunet.cli import common

USAGE = "--run DIR --data DIR --split val --num_samples 16 [--json FILE] [--figure FILE]"
FLAGS = common.make_flags()
flags.DEFINE_string("run", None, "run folder; its best weights are measured", flag_values=FLAGS)
flags.DEFINE_string("data", None, "dataset folder", flag_values=FLAGS)
flags.DEFINE_string("split", "val", "split of the dataset", flag_values=FLAGS)
flags.DEFINE_integer("num_samples", 16, "samples an image", 1, flag_values=FLAGS)
common.define_crop(FLAGS, "HEIGHT,WIDTH of the central crop; the run's training size if not given, 0 for whole images")
flags.DEFINE_integer("limit", None, "evaluate so many images, spread evenly", 1, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 16, "images at once", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of samples and bootstrap", flag_values=FLAGS)
flags.DEFINE_string("json", None, "file for the figures", flag_values=FLAGS)
flags.DEFINE_string("figure", None, "PNG for a few cases; RUN/evaluation-SPLIT.png if not given", flag_values=FLAGS)
REQUIRED = ("run", "data")


def main(values, _):
    from pathlib import Path

    from tf_probunet import plots
    from tf_probunet.data.dataset import load_info
    from tf_probunet.evaluation import evaluate, example_cases, table
    from tf_probunet.staging import replace_file
    from tf_probunet.run_folder import load_run

    experiment, model = load_run(values.run)
    data = load_info(values.data).with_window(experiment.window)
    crop_size = None if values.crop_size == ["0"] else common.crop(values) or experiment.crop_size
    result = evaluate(model, data, values.split, num_samples=values.num_samples, seed=values.seed,
                      batch_size=values.batch_size, crop_size=crop_size, limit=values.limit,
                      progress=common.progress("images"))
    summary = {"run": Path(values.run).name, "experiment": experiment.name, **result.summary()}
    common.report(table(summary))
    if values.json:
        with replace_file(values.json) as file:
            json.dump(summary, file, indent=1)
            file.write("\n")
        common.report(f"Figures: {values.json}")
    figure = values.figure or Path(values.run) / f"evaluation-{values.split}.png"
    if plots.is_available():
        cases = example_cases(model, data, values.split, num_samples=values.num_samples, seed=values.seed,
                              crop_size=crop_size)
        words = {"reference": "mode", "probability": "P(flipped)"} if data.flips else {}
        plots.sample_sheet(cases, figure, classes=model.num_classes, **words,
                           title=f"{experiment.name}, split {values.split}. {data.source.split('.')[0]}")
        common.report(f"Cases: {figure}")
    elif values.figure:
        raise ImportError("--figure needs matplotlib: pip install 'tf_probunet[plots]'.")
