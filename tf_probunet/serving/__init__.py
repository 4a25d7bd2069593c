"""What a server of exported models needs beside them: TensorFlow Serving's configuration, versions and labels; clients.

`Client` and `AsyncClient` draw samples from a model that a server holds.
"""

from tf_probunet.serving.async_client import AsyncClient
from tf_probunet.serving.client import Client
from tf_probunet.serving.connection import Tls
from tf_probunet.serving.errors import ServingError
from tf_probunet.serving.retries import Retries

__all__ = ["AsyncClient", "Client", "Retries", "ServingError", "Tls"]
