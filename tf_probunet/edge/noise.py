"""`tf.random.stateless_normal` in numpy, so that a device without TensorFlow draws the samples that a server draws.

Philox 4x32 with ten rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) and the Box-Muller
transform, with TensorFlow's way of making key and counter from two seeds.
"""

import operator

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_SCRAMBLE = (np.uint32(0x3EC8F720), np.uint32(0x02461E29))


def standard_normal(shape, seed) -> np.ndarray:
    """Standard-normal numbers; those of `tf.random.stateless_normal` up to the last digits of a logarithm or sine.

    Args:
        shape: of the result.
        seed: two integers.
    Returns:
        float32 array.

    Example:
        >>> standard_normal((2, 3), seed=(0, 1)).shape
        (2, 3)
    """
    size = int(np.prod(shape))
    key, high = _key_and_counter(check_seed(seed))
    blocks = np.arange(-(-size // 4), dtype=np.uint64)  # of four numbers each
    counter = np.stack([_low(blocks), _high(blocks), *(np.full(len(blocks), word, np.uint32) for word in high)])
    first, second, third, fourth = _philox(counter, key)
    numbers = np.stack([*_box_muller(first, second), *_box_muller(third, fourth)], axis=1)  # [blocks, 4]
    return numbers.reshape(-1)[:size].reshape(shape)


def check_seed(seed) -> tuple[int, int]:
    """Two integers; a `ValueError` for anything else."""
    try:
        first, second = map(operator.index, seed)
    except (TypeError, ValueError):
        raise ValueError(f"seed must be two integers, such as (0, 1). Received: {seed!r}.") from None
    return first, second


def _key_and_counter(seed):
    """TensorFlow scrambles the seeds, so that any two will do: the key, and the counter's upper half."""
    words = [np.uint32((number >> shift) & 0xFFFFFFFF) for number in seed for shift in (0, 32)]
    mixed = _philox(np.array(words, np.uint32)[:, None], _SCRAMBLE)
    return (mixed[0, 0], mixed[1, 0]), (mixed[2, 0], mixed[3, 0])


def _philox(counter, key):
    """Ten rounds over counters [4, n] uint32, all with one key of two words."""
    counter, key = counter.copy(), list(key)
    with np.errstate(over="ignore"):
        for _ in range(10):
            products = [_MULTIPLIERS[0] * counter[0].astype(np.uint64), _MULTIPLIERS[1] * counter[2].astype(np.uint64)]
            counter = np.stack([
                _high(products[1]) ^ counter[1] ^ key[0], _low(products[1]),
                _high(products[0]) ^ counter[3] ^ key[1], _low(products[0]),
            ])
            key = [word + step for word, step in zip(key, _WEYL, strict=True)]
    return counter


def _box_muller(first, second):
    """Two normal numbers of two integers."""
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(_uniform(first), np.float32(1e-7))))
    angle = np.float32(2 * np.pi) * _uniform(second)
    return np.sin(angle) * radius, np.cos(angle) * radius


def _uniform(integers):
    """Numbers of [0, 1) with the integers' low 23 bits as fraction."""
    return ((integers & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def _low(integers):
    return (integers & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _high(integers):
    return (integers >> np.uint64(32)).astype(np.uint32)
