"""The Keras model of an exported version, for what the exported graph, made for any batch and size, cannot do."""

from tf_probunet import models
from tf_probunet.export.exported import ExportedModel


def rebuilt_model(exported: ExportedModel) -> models.LatentSegmenter:
    """Builds the model that was exported and gives it the version's weights.

    The posterior net was left behind by the export: `posterior`, `reconstruct` and `fit` start from its new weights.

    Args:
        exported: the version.
    Raises:
        ValueError: the version holds no weights for a part of the model: it is of another release of this package.
    """
    model = getattr(models, exported.manifest["model"]["class"])(**exported.config)
    model.build()
    stored = {
        _below_model(variable.name): variable
        for signature in ("trunk", "combiner") for variable in exported.signatures[signature].variables
    }
    parts = [model.unet, model.combiner, *([] if model.fixed_prior else [model.prior_net])]
    for variable in (variable for part in parts for variable in part.variables):
        name = _below_model(variable.path)
        if name not in stored or stored[name].shape != variable.shape:
            raise ValueError(
                f"{exported.folder} has no weights {name} of shape {list(variable.shape)}. Expected a version that this "
                "release of tf_probunet wrote. Export the run again."
            )
        variable.assign(stored[name])
    return model


def _below_model(name):
    """A variable's name without that of its model, which may be numbered, and without TensorFlow's ":0"."""
    return name.split(":")[0].split("/", 1)[1]
