"""How an image with all that the browser needs travels: a JSON header, then arrays as they lie in memory."""

import json

import numpy as np

MAGIC = b"PUX1"


def pack(facts: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Packs JSON values and arrays.

    Args:
        facts: JSON values.
        arrays: uint8, uint16 or float32, by name.
    Returns:
        magic, length of the header (uint32), header, arrays, each at a multiple of 8 bytes, little-endian. The header
        holds `facts` and for each array its dtype, shape and offset behind the header.
    """
    parts, described, offset = [], {}, 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content = array.tobytes()
        described[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}
        content += bytes(-len(content) % 8)
        parts.append(content)
        offset += len(content)
    header = json.dumps({"facts": facts, "arrays": described}).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([MAGIC, len(header).to_bytes(4, "little"), header, *parts])


def unpack(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """What `pack` packed."""
    start = 8 + int.from_bytes(content[4:8], "little")
    header = json.loads(content[8:start])
    return header["facts"], {
        name: np.frombuffer(content, one["dtype"], int(np.prod(one["shape"])), start + one["offset"])
        .reshape(one["shape"]) for name, one in header["arrays"].items()
    }
