"""What several verbs share: flag definitions and a line of progress."""

import math
import sys
import time

from absl import flags

from tf_probunet.quiet import native_stderr


def make_flags() -> flags.FlagValues:
    """Flags of one verb, apart from those of every other."""
    return flags.FlagValues()


def import_tensorflow_quietly():
    """Imports TensorFlow without the lines that its C++ part writes before any log level holds."""
    with native_stderr():
        import tensorflow  # noqa: F401


def progress(what, interval=2.0):
    """A callback (done, total) that says now and then how far `what` is, on one line of a terminal."""
    state = {"last": time.monotonic(), "done": -1}

    def show(done, total):
        now = time.monotonic()
        if done == state["done"]:
            return
        if done < total and now - state["last"] < (interval if sys.stdout.isatty() else 10 * interval):
            return
        state.update(last=now, done=done)
        ending = "\r" if sys.stdout.isatty() and done < total else "\n"
        print(f"{what}: {done}/{total} ({100 * done // total} %)", end=ending, flush=True)

    return show


def report(line):
    """Prints a line at once, also into a file."""
    print(line, flush=True)


def crop(values):
    """(height, width) of a --crop_size flag: None for whole images, one number for a square."""
    return size(values.crop_size, "crop_size")


def size(texts, flag):
    """(height, width) of a list flag's texts: None where there are none, one number for a square."""
    if not texts:
        return None
    sizes = integers(texts, flag, "HEIGHT,WIDTH or one number")
    if len(sizes) > 2 or min(sizes) < 1:
        raise ValueError(f"--{flag} is HEIGHT,WIDTH or one number. Received: {','.join(texts)}.")
    return sizes[0], sizes[-1]


def integers(texts, flag, expected="whole numbers, such as 1,8,16"):
    """Whole numbers of a list flag's texts."""
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise ValueError(f"--{flag} is {expected}. Received: {','.join(texts)}.") from None


def define_crop(values, help_text):
    """Defines --crop_size, read back with `crop`."""
    flags.DEFINE_list("crop_size", None, help_text, flag_values=values)


def define_window(values):
    """Defines --window, read back with `window`."""
    flags.DEFINE_list("window", None, "LOW,HIGH in the dataset's units (Hounsfield units for CT): what is seen as "
                      "black and as white; the dataset's own if not given", flag_values=values)


def window(values):
    """(low, high) of a --window flag, or None."""
    if values.window is None:
        return None
    try:
        low, high = map(float, values.window)
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"--window is LOW,HIGH, two numbers, the lower first. Received: {','.join(values.window)}.")
    return low, high


def define_own_data(values):
    """Defines what images and masks of one's own need to be understood, read back with `own_data`."""
    flags.DEFINE_list("classes", ["background", "foreground"], "names of the classes, background first",
                      flag_values=values)
    flags.DEFINE_string("labels", None, "VALUE:CLASS,... where the masks' values are not the classes' numbers, such as "
                        "0:background,255:foreground", flag_values=values)
    flags.DEFINE_list("ignore", [], "values of pixels that nobody labelled", flag_values=values)
    flags.DEFINE_integer("ignore_label", 255, "what those become in the dataset", 1, 255, flag_values=values)
    flags.DEFINE_float("val_fraction", 0.15, "share of groups for val where no splits are named", 0, 1,
                       flag_values=values)
    flags.DEFINE_integer("seed", 0, "of that split", flag_values=values)
    define_window(values)
    flags.DEFINE_string("source_text", "images and masks of one's own", "where the data is from, in words",
                        flag_values=values)
    flags.DEFINE_string("licence", "that of the source", "of the data", flag_values=values)


def own_data(values):
    """Arguments of `prepare_folder` and `prepare_arrays` out of these flags."""
    try:
        ignored = [int(value) for value in values.ignore]
    except ValueError as error:
        raise ValueError(f"--ignore is a list of whole numbers, such as 254,255. Received: {','.join(values.ignore)}."
                         ) from error
    if len(values.classes) < 2:
        raise ValueError(
            "--classes is one list, the background first: --classes background,lesion. Received: "
            f"{','.join(values.classes)}."
        )
    return {
        "classes": tuple(values.classes), "labels": values.labels, "ignored": ignored,
        "ignore_label": values.ignore_label, "val_fraction": values.val_fraction, "seed": values.seed,
        "window": window(values), "source": values.source_text, "licence": values.licence,
    }


def define_parts(values):
    """Defines the flags of a preparation in parts, read back with `executor`."""
    flags.DEFINE_integer("num_processes", None, "worker processes; as many as there are cores if not given", 1,
                         flag_values=values)
    flags.DEFINE_boolean("allow_rejects", False, "leave out what cannot be used instead of stopping at the end",
                         flag_values=values)


def executor(values, beam_flags):
    """(make, units) -> None as the flags of `define_parts` say, with a line of progress."""
    from tf_probunet.pipelines.units import run_on_beam

    def execute(make, units):
        run_on_beam(make, units, progress(make.what), num_processes=values.num_processes, beam_flags=beam_flags)

    return execute
