"""probunet export"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--run DIR --output saved_models/NAME [--encoded] [--half_features]"
FLAGS = common.make_flags()
flags.DEFINE_string("run", None, "run folder; its best weights are exported", flag_values=FLAGS)
flags.DEFINE_string("output", None, "folder of the model's versions; the next number is made in it", flag_values=FLAGS)
flags.DEFINE_boolean("encoded", False, "a fourth signature, for clients that hold PNGs like those of the dataset",
                     flag_values=FLAGS)
flags.DEFINE_boolean("half_features", False, "features travel as float16, half the bytes", flag_values=FLAGS)
REQUIRED = ("run", "output")


def main(values, _):
    from tf_probunet.export.run import export_run

    version = export_run(values.run, values.output, encoded=values.encoded, half_features=values.half_features)
    names = "serving_default, trunk, combiner and encoded" if values.encoded else "serving_default, trunk and combiner"
    common.report(f"{version}: signatures {names}, each equal to Keras{' to 11 bits' * values.half_features}.")
