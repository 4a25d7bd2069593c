"""probunet compare"""

import shlex
from pathlib import Path

from absl import flags

from tf_probunet.cli import common

USAGE = "--plan NAME_OR_FILE --data DIR --output DIR [--only NAME,NAME] [--set FIELD=VALUE ...] [--page_only]"
FLAGS = common.make_flags()
flags.DEFINE_string("output", None, "folder for the page, its figures, records and runs", flag_values=FLAGS)
flags.DEFINE_string("plan", None, "models to compare: lidc_comparison, flips_comparison, or a JSON file like those in "
                    "tf_probunet/plans", flag_values=FLAGS)
flags.DEFINE_string("data", None, "dataset folder", flag_values=FLAGS)
flags.DEFINE_string("split", "val", "split of the dataset on which models are compared", flag_values=FLAGS)
flags.DEFINE_integer("limit", None, "evaluate so many images, spread evenly", 1, flag_values=FLAGS)
flags.DEFINE_integer("num_cases", 4, "images drawn with all models' samples, spread evenly", 1, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 16, "images evaluated at once", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of samples and intervals", 0, flag_values=FLAGS)
flags.DEFINE_list("only", [], "train and evaluate only these entries or runs in this sitting", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "FIELD=VALUE: another value for all models, such as steps=3000", flag_values=FLAGS)
flags.DEFINE_string("runs", None, "folder for the run folders; OUTPUT/runs if not given", flag_values=FLAGS)
flags.DEFINE_boolean("page_only", False, "draw the page again from the records in OUTPUT, nothing else",
                     flag_values=FLAGS)
REQUIRED = ("output",)
EPILOGUE = (
    "What was begun goes on: the same command after a kill, in as many sittings as it takes.\n"
    "Given several times at once, the processes share the runs."
)


def main(values, _):
    from tf_probunet import plots
    from tf_probunet.comparison.compare import compare
    from tf_probunet.comparison.page import write_page
    from tf_probunet.comparison.plan import load_plan
    from tf_probunet.comparison.state import Settings
    from tf_probunet.data.dataset import load_info

    plots.require()  # before hours of training
    if not values.page_only:
        for name in ("plan", "data"):
            if values[name].value is None:
                raise ValueError(f"--{name} is needed, unless --page_only draws the page of records that are there.")
        settings = Settings(split=values.split, limit=values.limit, num_cases=values.num_cases,
                            batch_size=values.batch_size, seed=values.seed)
        plan, data = load_plan(values.plan).with_base(**_overrides(values.set)), load_info(values.data)
        try:
            compare(plan, data, values.output, settings, runs=values.runs, only=values.only, command=_command(values),
                    report=common.report, progress=lambda run: common.progress(f"{run}: images"))
        except FloatingPointError:  # of one run; all others are done
            _write_page_so_far(values.output)
            raise
        _write_page_so_far(values.output)
    else:
        write_page(values.output, common.report)


def _write_page_so_far(output):
    from tf_probunet.comparison.page import NothingToShow, write_page

    try:
        write_page(output, common.report)
    except NothingToShow as error:  # of --only, say
        common.report(f"No page yet. {error}")


def _overrides(pairs):
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"--set is FIELD=VALUE, such as --set steps=3000. Received: {pair!r}.")
        found[name.strip()] = value.strip()
    return found


def _command(values):
    """The command line that makes the whole comparison, for its page: without --only, folders of a machine by name."""
    words = ["probunet", "compare"]
    for name in ("plan", "data", "output", "runs"):
        if values[name].value is not None:
            path = values[name].value
            words += [f"--{name}", Path(path).name if Path(path).is_absolute() else path]
    for name in ("split", "limit", "num_cases", "batch_size", "seed"):
        if values[name].value != values[name].default:
            words += [f"--{name}", str(values[name].value)]
    for pair in values.set:
        words += ["--set", pair]
    return shlex.join(words)
