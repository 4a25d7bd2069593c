"""probunet train"""

import dataclasses
from pathlib import Path

from absl import flags

from tf_probunet.cli import common
from tf_probunet.experiment import FILE_NAME, Experiment

FIELDS = [field.name for field in dataclasses.fields(Experiment) if field.name != "name"]
HIDDEN = FIELDS  # too many for the help, which names them in its epilogue
USAGE = "--data DIR --preset NAME --run DIR [--FIELD VALUE ...] [--resume] [--devices N]"
EPILOGUE = (
    "Fields (probunet presets NAME shows a preset's values; tuples are written 24,48,96; none is none):\n  "
    + ", ".join(FIELDS)
)
FLAGS = common.make_flags()
flags.DEFINE_string("data", None, "dataset folder with splits train and val", flag_values=FLAGS)
flags.DEFINE_string("preset", None, "named experiment to start from; see probunet presets", flag_values=FLAGS)
flags.DEFINE_string("run", None, "folder for weights, history, plots and checkpoints", flag_values=FLAGS)
flags.DEFINE_boolean("resume", False, "go on with a run that was stopped", flag_values=FLAGS)
flags.DEFINE_boolean("resume_if_started", False, "go on with the run if it is there, start it if not: for a command "
                     "that is given again after every failure, as Kubernetes does", flag_values=FLAGS)
flags.DEFINE_string("devices", None, "how many GPUs of this machine train together, or all; one if not given. Several "
                    "machines are named by TF_CONFIG", flag_values=FLAGS)
REQUIRED = ("data", "run")
for _field in FIELDS:
    flags.DEFINE_string(_field, None, "field of the experiment", flag_values=FLAGS)


def main(values, _):
    from tf_probunet.data.dataset import load_info
    from tf_probunet.presets import preset
    from tf_probunet.run_folder import IF_STARTED
    from tf_probunet.training import train

    resume = IF_STARTED if values.resume_if_started else values.resume
    started = (Path(values.run) / FILE_NAME).is_file()
    if values.preset is None and (values.resume or values.resume_if_started and started):
        start = Experiment.load(values.run)
    elif values.preset is None:
        raise ValueError("--preset is needed to start a run: for instance --preset lidc_small. See probunet presets.")
    else:
        start = preset(values.preset)
    overrides = {name: values[name].value for name in FIELDS if values[name].value is not None}
    experiment = start.replace(**overrides)
    train(experiment, load_info(values.data), values.run, resume=resume, devices=values.devices,
          report=common.report)
    common.report(f"Done. Best weights, history and curves are in {values.run}.")
