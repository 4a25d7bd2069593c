"""The C++ SavedModel loader that TensorFlow Serving uses, called through TensorFlow's C API."""

import ctypes
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def _library():
    folder = Path(tf.__file__).parent
    library = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc.so.*"))))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "TF_NewStatus": ([], pointer),
        "TF_GetCode": ([pointer], number),
        "TF_Message": ([pointer], text),
        "TF_NewSessionOptions": ([], pointer),
        "TF_NewGraph": ([], pointer),
        "TF_LoadSessionFromSavedModel": (
            [pointer, pointer, text, ctypes.POINTER(text), number, pointer, pointer, pointer], pointer),
        "TF_GraphOperationByName": ([pointer, text], pointer),
        "TF_AllocateTensor": ([number, ctypes.POINTER(ctypes.c_int64), number, ctypes.c_size_t], pointer),
        "TF_TensorData": ([pointer], pointer),
        "TF_TensorType": ([pointer], number),
        "TF_NumDims": ([pointer], number),
        "TF_Dim": ([pointer, number], ctypes.c_int64),
        "TF_TensorByteSize": ([pointer], ctypes.c_size_t),
        "TF_SessionRun": (
            [pointer, pointer, ctypes.POINTER(_Output), ctypes.POINTER(pointer), number, ctypes.POINTER(_Output),
             ctypes.POINTER(pointer), number, pointer, number, pointer, pointer], None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


class CppSavedModel:
    """Loads a SavedModel as the C++ server does; `run` calls one of its signatures."""

    def __init__(self, folder):
        self._lib = _library()
        self._status = self._lib.TF_NewStatus()
        self._graph = self._lib.TF_NewGraph()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = self._lib.TF_LoadSessionFromSavedModel(
            self._lib.TF_NewSessionOptions(), None, str(folder).encode(), tags, 1, self._graph, None, self._status)
        self._check()
        meta = saved_model_pb2.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes()).meta_graphs[0]
        self.signatures = {name: value for name, value in meta.signature_def.items() if not name.startswith("__")}

    def run(self, signature, **inputs):
        definition = self.signatures[signature]
        feeds = (_Output * len(inputs))(*[self._tensor(definition.inputs[name].name) for name in inputs])
        values = (ctypes.c_void_p * len(inputs))(*[self._to_tensor(value) for value in inputs.values()])
        names = list(definition.outputs)
        fetches = (_Output * len(names))(*[self._tensor(definition.outputs[name].name) for name in names])
        results = (ctypes.c_void_p * len(names))()
        self._lib.TF_SessionRun(self._session, None, feeds, values, len(inputs), fetches, results, len(names), None, 0,
                                None, self._status)
        self._check()
        return {name: self._to_numpy(result) for name, result in zip(names, results, strict=True)}

    def _tensor(self, name):
        operation, index = name.split(":")
        found = self._lib.TF_GraphOperationByName(self._graph, operation.encode())
        assert found, name
        return _Output(found, int(index))

    def _to_tensor(self, value):
        value = np.ascontiguousarray(value)
        dims = (ctypes.c_int64 * value.ndim)(*value.shape)
        tensor = self._lib.TF_AllocateTensor(tf.as_dtype(value.dtype).as_datatype_enum, dims, value.ndim, value.nbytes)
        ctypes.memmove(self._lib.TF_TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _to_numpy(self, tensor):
        shape = [self._lib.TF_Dim(tensor, axis) for axis in range(self._lib.TF_NumDims(tensor))]
        dtype = tf.as_dtype(self._lib.TF_TensorType(tensor)).as_numpy_dtype
        data = ctypes.string_at(self._lib.TF_TensorData(tensor), self._lib.TF_TensorByteSize(tensor))
        return np.frombuffer(data, dtype).reshape(shape)

    def _check(self):
        if self._lib.TF_GetCode(self._status):
            raise RuntimeError(self._lib.TF_Message(self._status).decode())
