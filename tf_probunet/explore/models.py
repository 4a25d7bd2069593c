"""The model behind the page: a SavedModel in this process, or one that a server holds."""

from typing import Protocol

import numpy as np
import tensorflow as tf

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.litert import fingerprint
from tf_probunet.models.segmenter import check_size
from tf_probunet.serving.client import Client
from tf_probunet.serving.conversations import Trunk
from tf_probunet.serving.retries import Retries


class ExploredModel(Protocol):
    """What the page asks of a model.

    Attributes:
        title: name and version, for people.
        classes: names, background first; None where nobody told.
        num_classes: K.
        image: how the training images were encoded.
        trained_size: height and width of the training crops, or None where nobody told.
        fingerprint: of the version, as converted files name it, or None where nobody told.
    """

    def trunk(self, images) -> Trunk:
        """Runs what is computed once an image."""

    def combine(self, trunk: Trunk, latents) -> np.ndarray:
        """Logits [B, M, H, W, K] by the model's own combiner."""

    def check_alive(self) -> None:
        """Raises an `OSError` when the model would not answer."""


class LocalModel:
    """A SavedModel in this process.

    Args:
        exported: the model.
    """

    def __init__(self, exported: ExportedModel):
        self.exported = exported
        self.title, self.image, self.trained_size = exported.title, exported.image, exported.trained_size
        self.num_classes = exported.num_classes
        self.classes = exported.manifest.get("data", {}).get("classes")
        self.fingerprint = fingerprint(exported)

    def trunk(self, images):
        images, channels = np.asarray(images, np.float32), self.exported.config["image_channels"]
        if images.shape[3] != channels:
            raise ValueError(f"The model sees images of {channels} channels. Received: {images.shape[3]} channels. "
                             "Give images like those that it was trained on.")
        check_size(*images.shape[1:3], 2 ** (len(self.exported.config["channels"]) - 1))
        outputs = self.exported.signatures["trunk"](images=tf.constant(images))
        return Trunk(*(outputs[name].numpy() for name in ("features", "prior_mean", "prior_stddev")),
                     self.exported.manifest["version"])

    def combine(self, trunk, latents):
        combiner = self.exported.signatures["combiner"]
        return combiner(features=tf.constant(trunk.features), latents=tf.constant(latents))["logits"].numpy()

    def check_alive(self):
        pass


class RemoteModel:
    """The version that a server answers with when this is made, also when a newer one comes meanwhile.

    Args:
        client: to ask; stays open as long as this is used.
        exported: the same version as a SavedModel here, which tells what a server does not; or None.
    Raises:
        ServingError: there was no answer. ValueError: the SavedModel has other shapes.
    """

    def __init__(self, client: Client, exported: ExportedModel | None = None):
        metadata = client.metadata()
        here = exported and (exported.num_classes, exported.config["latent_dim"], exported.config["image_channels"])
        there = metadata.num_classes, metadata.latent_dim, metadata.image_channels
        if here not in (None, there):
            raise ValueError(
                f"{exported.folder} is not the model that {client.address} serves: it has {here[0]} classes, latents "
                f"of {here[1]} and images of {here[2]} channels; the server's has {there[0]}, {there[1]} and "
                f"{there[2]}. Give the folder of the served version."
            )
        self.title = f"{client.spec.name} version {metadata.version} at {client.address}"
        self.num_classes = metadata.num_classes
        self.image = exported.image if exported else ImageEncoding(channels=metadata.image_channels)
        self.trained_size = exported.trained_size if exported else None
        self.classes = exported.manifest.get("data", {}).get("classes") if exported else None
        self.fingerprint = fingerprint(exported) if exported else None
        self._client = client.of_version(metadata.version)
        self._version = metadata.version
        self._quick = client.of_version(metadata.version)
        self._quick.retries, self._quick.timeout = Retries(0), 2.0

    def trunk(self, images):
        return self._client.trunk(images)

    def combine(self, trunk, latents):
        return self._client.combine(trunk, latents)

    def check_alive(self):
        self._quick.status()
