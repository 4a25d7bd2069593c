"""probunet presets"""

import dataclasses

from tf_probunet.cli import common

USAGE = "[NAME]"
POSITIONAL = True  # name of a preset
USES_TENSORFLOW = False
FLAGS = common.make_flags()


def main(_, positional):
    from tf_probunet.presets import PRESETS, preset

    if not positional:
        for name, entry in PRESETS.items():
            common.report(f"{name:<20} {entry.purpose}")
        return
    experiment = preset(positional[0])
    for field, value in dataclasses.asdict(experiment).items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        common.report(f"{field:<24} {shown:<28} {PRESETS[positional[0]].sources[field]}")
