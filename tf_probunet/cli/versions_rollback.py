"""probunet versions rollback"""

from absl import flags

from tf_probunet.cli import common, versions

USAGE = "--saved_models DIR --model NAME [--label LABEL]"
USES_TENSORFLOW = False
FLAGS = versions.make_flags("whose label")
flags.DEFINE_string("label", "stable", "goes to the newest whole version before the one that it names",
                    flag_values=FLAGS)
REQUIRED = ("saved_models", "model")


def main(values, _):
    from tf_probunet.serving.versions import roll_back

    before, version = roll_back(values.saved_models, values.model, values.label)
    common.report(f"{values.label} of {values.model} was version {before} and is version {version.number}.")
