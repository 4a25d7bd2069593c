"""A model behind a server, as `tf_probunet.sampling.sample_to_folder` takes it: what `ExportedModel` is in process."""

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.serving.client import Client


class ServedModel:
    """Draws samples from the version that answers when this is made, also when a newer one comes meanwhile.

    A server tells shapes, but not how the integers of the training images became 0..1. They are taken as grey levels:
    8-bit images are divided by 255, 16-bit ones by 65535. Images in physical units, such as CT in Hounsfield units,
    must be 0..1 already, floats scaled as in training.

    Args:
        client: to ask; stays open as long as this is used.
    Raises:
        ServingError: there was no answer.
    """

    trained_sizes = ()  # a server does not tell

    def __init__(self, client: Client):
        metadata = client.metadata()
        self.image = ImageEncoding(channels=metadata.image_channels)
        self.num_classes = metadata.num_classes
        self.title = f"{client.spec.name} version {metadata.version} at {client.address}"
        self.source = "unknown to the server"
        self._client = client.of_version(metadata.version)

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """See `Client.sample`."""
        return self._client.sample(images, num_samples, seed)
