"""probunet versions list"""

from tf_probunet.cli import common, versions

USAGE = "--saved_models DIR [--model NAME]"
USES_TENSORFLOW = False
FLAGS = versions.make_flags("only this one")
REQUIRED = ("saved_models",)


def main(values, _):
    from tf_probunet.serving.versions import find_versions

    for version in find_versions(values.saved_models, values.model):
        common.report(versions.describe(version))
