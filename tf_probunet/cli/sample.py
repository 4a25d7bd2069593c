"""probunet sample"""

import contextlib
from pathlib import Path

import numpy as np
from absl import flags

from tf_probunet.cli import common

USAGE = "--image FILE --output DIR (--saved_model DIR | --server HOST:PORT --model NAME) [--num_samples 16] [--seed 0]"
FLAGS = common.make_flags()
flags.DEFINE_string("image", None, "PNG (8 or 16 bit) or NPY; for a server, which does not tell units, integers are "
                    "grey levels of the full range", flag_values=FLAGS)
flags.DEFINE_string("output", None, "folder to make", flag_values=FLAGS)
flags.DEFINE_string("saved_model", None, "saved_models/NAME (newest version) or saved_models/NAME/VERSION",
                    flag_values=FLAGS)
flags.DEFINE_string("server", None, "HOST:PORT of a server of models, instead of --saved_model", flag_values=FLAGS)
flags.DEFINE_string("model", None, "with --server: name of the model", flag_values=FLAGS)
flags.DEFINE_integer("version", None, "with --server: number of the version; the newest if not given", 1,
                     flag_values=FLAGS)
flags.DEFINE_string("label", None, "with --server: label of the version, such as stable", flag_values=FLAGS)
flags.DEFINE_boolean("rest", False, "with --server: ask over REST instead of gRPC", flag_values=FLAGS)
flags.DEFINE_boolean("tls", False, "with --server: over an encrypted connection; so it is with any of the next three",
                     flag_values=FLAGS)
flags.DEFINE_string("root_certificates", None, "with --server: PEM of the authority of the server's certificate",
                    flag_values=FLAGS)
flags.DEFINE_string("certificate", None, "with --server: PEM of yours, where the server asks for it", flag_values=FLAGS)
flags.DEFINE_string("key", None, "with --server: PEM of its key", flag_values=FLAGS)
flags.DEFINE_float("timeout", 60, "with --server: seconds to wait for an answer", 0.001, flag_values=FLAGS)
flags.DEFINE_integer("num_samples", 16, "segmentations to draw", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the samples", flag_values=FLAGS)
common.define_crop(FLAGS, "HEIGHT,WIDTH of the central crop; the whole image if not given")
REQUIRED = ("image", "output")
_OF_SERVER = ("model", "version", "label", "rest", "tls", "root_certificates", "certificate", "key")


def check(values):
    """Raises `flags.Error` for flags that do not go together."""
    if (values.saved_model is None) == (values.server is None):
        raise flags.Error("either --saved_model or --server is needed, not both")
    alone = [name for name in _OF_SERVER if values[name].value] if values.server is None else []
    if alone:
        raise flags.Error(f"--{alone[0]} goes with --server")
    if values.server is not None and values.model is None:
        raise flags.Error("--server needs --model: the name under which it knows the model")


def main(values, _):
    from tf_probunet.sampling import sample_to_folder

    with _model(values) as model:
        files = sample_to_folder(model, values.image, values.output, num_samples=values.num_samples, seed=values.seed,
                                 crop_size=common.crop(values))
        if model.trained_sizes and np.load(Path(values.output) / "samples.npy").shape[1:] not in model.trained_sizes:
            sizes = [f"{height}x{width}" for height, width in model.trained_sizes]
            common.report(f"The model was trained on {' or '.join(sizes)} pixels, and its figures hold for {sizes[0]}: "
                          f"--crop_size {sizes[0].replace('x', ',')} takes the middle of the image.")
    common.report(f"{len(files)} files in {values.output}, among them {files[0].name}, samples.npy, probability.png")


@contextlib.contextmanager
def _model(values):
    if values.server is None:
        from tf_probunet.export.exported import ExportedModel

        yield ExportedModel(values.saved_model)
        return
    from tf_probunet.serving import Client, Tls
    from tf_probunet.serving.served_model import ServedModel

    files = (values.root_certificates, values.certificate, values.key)
    tls = Tls(*files) if values.tls or any(files) else None
    with Client(values.server, values.model, version=values.version, label=values.label, tls=tls,
                protocol="rest" if values.rest else "grpc", timeout=values.timeout) as client:
        yield ServedModel(client)
