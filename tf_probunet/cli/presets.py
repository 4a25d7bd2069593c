"""probunet presets"""

import dataclasses

from absl import flags

from tf_probunet.cli import common

USAGE = "[NAME [--parameters]]"
POSITIONAL = True  # name of a preset
USES_TENSORFLOW = False
FLAGS = common.make_flags()
flags.DEFINE_boolean("parameters", False, "count the parameters of each model with the preset's fields instead",
                     flag_values=FLAGS)


def main(values, positional):
    from tf_probunet.presets import PRESETS, preset

    if not positional:
        for name, entry in PRESETS.items():
            common.report(f"{name:<20} {entry.purpose}")
        return
    experiment = preset(positional[0])
    if values.parameters:
        common.import_tensorflow_quietly()
        from tf_probunet.models.parameter_counts import parameter_table

        common.report(parameter_table(experiment))
        return
    for field, value in dataclasses.asdict(experiment).items():
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        common.report(f"{field:<24} {shown:<28} {PRESETS[positional[0]].sources[field]}")
