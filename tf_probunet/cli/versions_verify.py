"""probunet versions verify"""

from tf_probunet.cli import common, versions

USAGE = "--saved_models DIR [--model NAME]"
USES_TENSORFLOW = False
FLAGS = versions.make_flags("only this one")
REQUIRED = ("saved_models",)


def main(values, _):
    from tf_probunet.serving.versions import find_versions

    found = find_versions(values.saved_models, values.model)
    damaged = [version for version in found if version.problem]
    for version in damaged:
        common.report(version.problem)
    if damaged:
        raise ValueError(f"{len(damaged)} of {len(found)} versions must not be served.")
    common.report(f"Every file of {len(found)} versions is as its manifest says.")
