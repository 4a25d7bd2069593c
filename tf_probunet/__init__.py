"""The Probabilistic U-Net (Kohl et al., NeurIPS 2018) in TensorFlow and Keras 3, from data to serving.

Start with `tf_probunet.models.ProbabilisticUNet`, or with the command `probunet help`.
"""

__version__ = "0.1.0"
