"""probunet versions delete"""

from absl import flags

from tf_probunet.cli import common, versions

USAGE = "--saved_models DIR --model NAME --keep N"
USES_TENSORFLOW = False
FLAGS = versions.make_flags("whose old versions")
flags.DEFINE_integer("keep", None, "so many of the newest whole versions stay, and what a label names", 1,
                     flag_values=FLAGS)
REQUIRED = ("saved_models", "model", "keep")


def main(values, _):
    from tf_probunet.serving.versions import delete_old

    deleted = delete_old(values.saved_models, values.model, values.keep)
    names = ", ".join(str(version.number) for version in deleted)
    common.report(f"Deleted versions of {values.model}: {names}." if deleted else "There is nothing to delete.")
