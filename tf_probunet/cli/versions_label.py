"""probunet versions label"""

from absl import flags

from tf_probunet.cli import common, versions

USAGE = "--saved_models DIR --model NAME --label LABEL [--version N]"
USES_TENSORFLOW = False
FLAGS = versions.make_flags("whose version")
flags.DEFINE_string("label", None, "such as stable or canary", flag_values=FLAGS)
flags.DEFINE_integer("version", None, "the newest that is whole if not given", 1, flag_values=FLAGS)
flags.DEFINE_string("base_path", None, "folder of all models as the server sees it, for a model that has no label yet; "
                    "/models if not given, as in the image tensorflow/serving", flag_values=FLAGS)
REQUIRED = ("saved_models", "model", "label")


def main(values, _):
    from tf_probunet.serving.model_config import NAME
    from tf_probunet.serving.versions import label_version

    version = label_version(values.saved_models, values.model, values.label, values.version, values.base_path)
    common.report(f"{values.label} of {values.model} is version {version.number} in {values.saved_models}/{NAME}.")
