"""What a `.tflite` file says of itself: its operations, its tensors, and what `probunet convert` wrote into it."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np

METADATA = "tf_probunet"  # the name of the buffer
FORMAT = "tf_probunet.litert/1"
IDENTIFIER = b"TFL3"


class TfliteFile:
    """A model file, read but not run.

    Args:
        content: path of a file, or its bytes.
    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: it is no `.tflite` file.

    Attributes:
        content: the bytes.
        operations: names of the operations in the order of computation, such as ["CONV_2D", "ADD"].
        inputs, outputs: shapes by name, of the file's one signature; empty if it has none.
        metadata: what `probunet convert` wrote, or None for the file of another maker.
    """

    def __init__(self, content: str | os.PathLike | bytes):
        self.path = None if isinstance(content, bytes) else Path(content)
        self.content = content if isinstance(content, bytes) else self.path.read_bytes()
        where = self.path or "The model"
        if self.content[4:8] != IDENTIFIER:
            raise ValueError(
                f"{where} is no LiteRT model. Received {len(self.content):,} bytes without the mark TFL3; expected a "
                "file that `probunet convert` wrote."
            )
        try:
            self._model = _schema().ModelT.InitFromPackedBuf(self.content, 0)
            self.operations = self._operations()
            self._inputs, outputs = self._signature()
            self.inputs, self.outputs = ({name: _shape(tensor) for name, tensor in side.items()}
                                         for side in (self._inputs, outputs))
            self.metadata = self._metadata()
        except ImportError:
            raise
        except Exception as error:  # whatever the reader of flatbuffers stumbles over
            raise ValueError(f"{where} is damaged: {error}. Copy or convert it again.") from error

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of every tensor, constants too; a free dimension is -1."""
        return [(tensor.name.decode(), _shape(tensor)) for tensor in self._model.subgraphs[0].tensors]

    def operation_counts(self) -> str:
        """Such as "3 CONV_2D, 1 ADD", the most frequent first."""
        return ", ".join(f"{count} {name}" for name, count in Counter(self.operations).most_common())

    def quantized_range(self, name: str) -> tuple[float, float] | None:
        """The lowest and highest number that an input can carry, None where it is not quantized; others are clipped."""
        graph = self._model.subgraphs[0]
        index = next(i for i, tensor in enumerate(graph.tensors) if tensor is self._inputs[name])
        for operation, operator in zip(self.operations, graph.operators, strict=True):
            if operation == "QUANTIZE" and operator.inputs[0] == index:
                quantization = graph.tensors[operator.outputs[0]].quantization
                scale, zero = float(quantization.scale[0]), int(quantization.zeroPoint[0])
                return scale * (-128 - zero), scale * (127 - zero)
        return None

    def with_metadata(self, metadata: dict) -> bytes:
        """The file's bytes with these JSON values as its metadata."""
        import flatbuffers

        schema = _schema()
        model = schema.ModelT.InitFromPackedBuf(self.content, 0)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(json.dumps({"format": FORMAT, **metadata}).encode(), np.uint8)
        model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = METADATA, len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), entry]
        builder = flatbuffers.Builder(len(self.content))
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _operations(self):
        names = {value: name for name, value in vars(_schema().BuiltinOperator).items() if isinstance(value, int)}
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in self._model.operatorCodes]
        return [names[codes[operator.opcodeIndex]] for operator in self._model.subgraphs[0].operators]

    def _signature(self):
        tensors = self._model.subgraphs[0].tensors
        for signature in self._model.signatureDefs or []:
            return tuple({entry.name.decode(): tensors[entry.tensorIndex] for entry in side}
                         for side in (signature.inputs, signature.outputs))
        return {}, {}

    def _metadata(self):
        for entry in self._model.metadata or []:
            if entry.name == METADATA.encode():
                found = json.loads(bytes(self._model.buffers[entry.buffer].data))
                if found.get("format") != FORMAT:
                    raise ValueError(f"its metadata has format {found.get('format')!r}, expected {FORMAT!r}")
                return found
        return None


def _shape(tensor):
    signature = tensor.shapeSignature  # with the free dimensions, where there are any
    sizes = signature if signature is not None and len(signature) else tensor.shape
    return () if sizes is None else tuple(int(size) for size in sizes)


def _schema():
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ImportError("LiteRT files need ai-edge-litert: pip install 'tf_probunet[edge]'.") from error
    return schema_py_generated
