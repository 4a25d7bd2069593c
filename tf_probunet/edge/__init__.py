"""What runs on a device: numpy and ai-edge-litert, without TensorFlow."""

from tf_probunet.edge.combiner import Combiner

__all__ = ["Combiner"]
