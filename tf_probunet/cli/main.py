"""The `probunet` command: finds the verb's file, parses its flags, and turns errors into one clear line."""

import errno
import importlib
import os
import re
import sys

from absl import flags

from tf_probunet.cli import common
from tf_probunet.suggest import unknown

# TensorFlow reports missing GPUs and CPU features on every start; a user who wants that sets the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

VERBS = {
    "prepare phantom": "prepare_phantom",
    "prepare lidc": "prepare_lidc",
    "prepare lidc-crops": "prepare_lidc_crops",
    "prepare cityscapes": "prepare_cityscapes",
    "prepare folder": "prepare_folder",
    "prepare arrays": "prepare_arrays",
    "verify": "verify",
    "show": "show",
    "presets": "presets",
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
    "export": "export",
    "convert": "convert",
    "sample": "sample",
    "explore": "explore",
    "serve": "serve",
    "versions list": "versions_list",
    "versions verify": "versions_verify",
    "versions label": "versions_label",
    "versions rollback": "versions_rollback",
    "versions delete": "versions_delete",
}
SUMMARIES = {
    "prepare phantom": "Make a small dataset without any CT: real contours over rendered images.",
    "prepare lidc": "Make a dataset from the DICOM files of LIDC-IDRI.",
    "prepare lidc-crops": "Make a dataset from the public LIDC crops with four masks.",
    "prepare folder": "Make a dataset from your own images and a folder of masks for each grader.",
    "prepare arrays": "Make a dataset from your own NPZ files.",
    "prepare cityscapes": "Make a dataset with ambiguous labels from Cityscapes, or from data in its layout.",
    "verify": "Check every byte and record of a dataset.",
    "show": "Draw images with every grader's outline, or augmented ones, and count what a split holds.",
    "presets": "List the presets, or one preset's fields and their sources.",
    "train": "Train a preset on a dataset into a run folder.",
    "evaluate": "Measure a run's samples against all graders.",
    "compare": "Train and measure several models alike, and write one page about them.",
    "export": "Write a run as a SavedModel for TensorFlow Serving.",
    "convert": "Write an exported model as LiteRT files for devices and their GPUs.",
    "sample": "Draw segmentations of one image from a SavedModel or from a server.",
    "explore": "Walk through the hypotheses for your images on a local web page.",
    "serve": "Serve exported models as TensorFlow Serving does, by gRPC and REST.",
    "versions list": "List exported versions, their state, figures and labels.",
    "versions verify": "Check every file of exported versions against its manifest.",
    "versions label": "Let a label such as stable or canary name a version, in TensorFlow Serving's models.config.",
    "versions rollback": "Let a label name the version before the one that it names.",
    "versions delete": "Delete old versions, but for the last few and what a label names.",
}


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Runs one command line; returns the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    verb, rest = _split_verb(arguments)
    if verb is None:
        return rest
    module = importlib.import_module(f"tf_probunet.cli.{VERBS[verb]}")
    values = module.FLAGS
    if "--help" in rest or "-h" in rest:
        print(_help(verb, module))
        return 0
    try:
        for name in values:  # a second command line in one process starts from the defaults
            values[name].unparse()
        positional = values([verb, *rest])[1:]
        missing = [name for name in getattr(module, "REQUIRED", ()) if values[name].value is None]
        if missing:
            raise flags.Error(f"--{missing[0]} is needed: {values[missing[0]].help}")
        if positional and not getattr(module, "POSITIONAL", False):
            raise flags.Error(f"unexpected argument {positional[0]!r}; flags are written --name value")
        if hasattr(module, "check"):
            module.check(values)
    except flags.UnrecognizedFlagError as error:
        known = [f"--{name}" for name in values]
        return _fail(f"{unknown('flag', f'--{error.flagname}', known)}\nSee: probunet {verb} --help", 2)
    except flags.Error as error:
        return _fail(f"{error}\nSee: probunet {verb} --help", 2)
    try:
        if getattr(module, "USES_TENSORFLOW", True):
            common.import_tensorflow_quietly()
        return module.main(values, positional) or 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("PROBUNET_TRACEBACK"):
            raise
        return _fail(in_words(error))


def in_words(error):
    """The text of an error; of the operating system's, without its number and without our names for what is unfinished."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if not error.filename:
        return error.strerror
    path = re.sub(r"(^|/)\.([^/]+)\.(?:parts|partial-\d+)(?=/|$)", r"\1\2", os.fsdecode(error.filename))
    remedy = {
        errno.EROFS: "Choose a folder that can be written.",
        errno.EACCES: "Choose a folder or file that you may use, or change its permissions.",
        errno.EPERM: "Choose a folder or file that you may use, or change its permissions.",
        errno.EEXIST: "A file is where a folder should be: choose another name.",
        errno.ENOTDIR: "A file is where a folder should be: choose another name.",
        errno.EISDIR: "A folder is where a file should be: choose another name.",
    }.get(error.errno, "")
    return f"{path}: {error.strerror}. {remedy}".strip()


def _split_verb(arguments):
    """(verb, its arguments), or (None, exit status) when there is nothing to run."""
    if not arguments or arguments[0] in ("help", "--help", "-h"):
        if len(arguments) > 1:
            return _split_verb([*arguments[1:], "--help"])
        print(_overview())
        return None, 0
    words = next((count for count in (2, 1) if " ".join(arguments[:count]) in VERBS), None)
    if words is None:
        flagless = [word for word in arguments[:2] if not word.startswith("-")]
        kin = [verb for verb in VERBS if verb.split()[0] == arguments[0]]  # verbs of two words
        if kin and len(flagless) == 1:
            return None, _fail(f"{arguments[0]} what? {', '.join(kin)}", 2)
        name = " ".join(flagless) if kin else arguments[0]
        return None, _fail(unknown("command", name, VERBS) + "\nSee: probunet help", 2)
    return " ".join(arguments[:words]), arguments[words:]


def _overview():
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {SUMMARIES[verb]}" for verb in VERBS]
    return "\n".join([
        "probunet: the distribution over segmentations of an ambiguous image (Probabilistic U-Net).", "", *lines, "",
        "probunet VERB --help tells a verb's flags. PROBUNET_TRACEBACK=1 shows where an error came from.",
    ])


def _help(verb, module):
    lines = [f"probunet {verb} {module.USAGE}", "", SUMMARIES[verb], ""]
    required = getattr(module, "REQUIRED", ())
    hidden = {"help", "helpfull", "helpshort", "helpxml", "flagfile", "undefok", *getattr(module, "HIDDEN", ())}
    optional = [name for name in module.FLAGS if name not in required and name not in hidden]
    for name in (*required, *optional):
        flag = module.FLAGS[name]
        note = " (required)" if name in required else "" if flag.default is None else f" (default {flag.default})"
        lines.append(f"  --{name}: {flag.help}{note}")
    if hasattr(module, "EPILOGUE"):
        lines += ["", module.EPILOGUE]
    return "\n".join(lines)


def _fail(message, status=1):
    print(f"probunet: {message}", file=sys.stderr)
    return status
