"""probunet explore"""

import contextlib

from absl import flags

from tf_probunet.cli import common

USAGE = "(--data DIR | --image FILE) (--saved_model DIR | --server HOST:PORT --model NAME --combiner FILE) [--port 0]"
FLAGS = common.make_flags()
flags.DEFINE_string("data", None, "dataset folder; its graders' outlines and pixel spacing are shown", flag_values=FLAGS)
flags.DEFINE_string("split", "val", "with --data: split of the dataset", flag_values=FLAGS)
flags.DEFINE_multi_string("image", None, "PNG (8 or 16 bit) or NPY, instead of --data; may be given several times",
                          flag_values=FLAGS)
flags.DEFINE_string("saved_model", None, "saved_models/NAME (newest version) or saved_models/NAME/VERSION; beside "
                    "--server, the version that is served there", flag_values=FLAGS)
flags.DEFINE_string("server", None, "HOST:PORT of a server of models, which runs the U-Net", flag_values=FLAGS)
flags.DEFINE_string("model", None, "with --server: name of the model", flag_values=FLAGS)
flags.DEFINE_boolean("rest", False, "with --server: ask over REST instead of gRPC", flag_values=FLAGS)
flags.DEFINE_float("timeout", 60, "with --server: seconds to wait for an answer", 0.001, flag_values=FLAGS)
flags.DEFINE_string("combiner", None, "combiner that `probunet convert` wrote, FILE.tflite or a folder of several "
                    "sizes; made from --saved_model if not given", flag_values=FLAGS)
common.define_crop(FLAGS, "HEIGHT,WIDTH of the central crop; the size that the model was trained on if not given, "
                          "whole images where that is not known")
flags.DEFINE_integer("num_samples", 64, "hypotheses on the wall", 2, 256, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the hypotheses", 0, 2**31 - 1, flag_values=FLAGS)
flags.DEFINE_integer("port", 0, "to listen on, on this machine only; 0 for any that is free", 0, 65535,
                     flag_values=FLAGS)
flags.DEFINE_boolean("open_browser", True, "show the page in this machine's browser", flag_values=FLAGS)


def check(values):
    """Raises `flags.Error` for flags that do not go together."""
    if (values.data is None) == (not values.image):
        raise flags.Error("either --data or --image is needed, not both")
    if values.saved_model is None and values.server is None:
        raise flags.Error("--saved_model is needed, or --server for a model that a server holds")
    if values.server is not None and values.model is None:
        raise flags.Error("--server needs --model: the name under which it knows the model")
    if values.server is None and (values.model or values.rest):
        raise flags.Error(f"--{'model' if values.model else 'rest'} goes with --server")
    if values.server is not None and values.saved_model is None and values.combiner is None:
        raise flags.Error("a server gives features, but the browser draws the hypotheses and needs the combiner as a "
                          "file: give --combiner FILE.tflite (probunet convert writes it) or --saved_model DIR, the "
                          "version that is served")


def main(values, _):
    from tf_probunet.explore.combiner_file import ConvertedCombiner, GivenCombiner
    from tf_probunet.explore.run import run
    from tf_probunet.explore.session import Session

    with _model(values) as (model, exported):
        combiner = GivenCombiner(values.combiner) if values.combiner else ConvertedCombiner(exported)
        cases = _cases(values, model, exported)
        session = Session(model, combiner, cases, num_samples=values.num_samples, seed=values.seed)
        run(session, port=values.port, open_browser=values.open_browser, report=common.report)


@contextlib.contextmanager
def _model(values):
    from tf_probunet.explore.models import LocalModel, RemoteModel
    from tf_probunet.export.exported import ExportedModel

    exported = ExportedModel(values.saved_model) if values.saved_model else None
    if values.server is None:
        yield LocalModel(exported), exported
        return
    from tf_probunet.serving import Client

    with Client(values.server, values.model, protocol="rest" if values.rest else "grpc",
                timeout=values.timeout) as client:
        yield RemoteModel(client, exported), exported


def _cases(values, model, exported):
    from tf_probunet.data.dataset import load_info
    from tf_probunet.explore.cases import DatasetCases, FileCases

    crop_size = common.crop(values) or model.trained_size
    if values.image:
        return FileCases(values.image, model.image, crop_size)
    data = load_info(values.data)
    # What the model sees is its own window; of one that a server alone holds nobody tells it.
    return DatasetCases(data.with_window(exported.window) if exported else data, values.split, crop_size)
