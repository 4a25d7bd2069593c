"""The noise of samples: the same seed gives the same numbers here, in a served model's client, and in process."""

import itertools
from collections.abc import Iterator

import numpy as np

from tf_probunet.edge.noise import check_seed

BLOCK = 16  # samples that are drawn at once where their number is not known


def standard_normal(shape, seed) -> np.ndarray:
    """Standard-normal numbers, those of `tf.random.stateless_normal`, from which `ExportedModel.sample` makes latents.

    Args:
        shape: [B, M, N].
        seed: two integers.
    Returns:
        noise of that shape, float32.
    """
    import tensorflow as tf  # late: seconds

    with tf.device("CPU"):  # a client leaves its machine's GPU alone
        return tf.random.stateless_normal(shape, check_seed(seed)).numpy()


def noise_chunks(num_images: int, latent_dim: int, num_samples: int | None, seed, chunk: int) -> Iterator[np.ndarray]:
    """Noise in pieces.

    With `num_samples` the pieces together are `standard_normal((B, M, N), seed)`. Without, they never end, and blocks
    of 16 samples are drawn with `tf.random.fold_in(seed, 0)`, `(seed, 1)` and so on: sample i does not depend on the
    chunks, but is another one than with `num_samples`, because `stateless_normal` depends on the whole shape.

    Args:
        num_images: B. latent_dim: N. num_samples: M, or None for no end.
        seed: two integers.
        chunk: samples in a piece.
    Yields:
        [B, chunk, N] float32; the last one may be shorter.
    """
    if num_samples is not None:
        noise = standard_normal((num_images, num_samples, latent_dim), seed)
        for start in range(0, num_samples, chunk):
            yield noise[:, start : start + chunk]
        return
    left = np.empty((num_images, 0, latent_dim), np.float32)
    for block in itertools.count():
        drawn = standard_normal((num_images, BLOCK, latent_dim), _folded(seed, block))
        left = np.concatenate([left, drawn], axis=1)
        while left.shape[1] >= chunk:
            yield left[:, :chunk]
            left = left[:, chunk:]


def _folded(seed, block):
    import tensorflow as tf

    with tf.device("CPU"):
        return tuple(tf.random.fold_in(check_seed(seed), block).numpy().tolist())
