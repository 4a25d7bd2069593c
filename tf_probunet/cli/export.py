"""probunet export"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--run DIR --output saved_models/NAME"
FLAGS = common.make_flags()
flags.DEFINE_string("run", None, "run folder; its best weights are exported", flag_values=FLAGS)
flags.DEFINE_string("output", None, "folder of the model's versions; the next number is made in it", flag_values=FLAGS)
REQUIRED = ("run", "output")


def main(values, _):
    from tf_probunet.export.run import export_run

    version = export_run(values.run, values.output)
    common.report(f"{version}: signatures serving_default, trunk and combiner, each equal to Keras.")
