"""A LiteRT model compiled for the GPU alone or the CPU alone: nothing runs elsewhere than where it says."""

import functools
import math
import os
import re
import tempfile

import numpy as np

from tf_probunet.quiet import native_stderr

ACCELERATORS = ("auto", "gpu", "cpu")
NO_DRIVER = "no driver of Vulkan, Metal or Direct3D 12 was found"


class NoGpuError(RuntimeError):
    """The GPU was asked for and cannot be used; `why` says why, in words."""

    def __init__(self, why):
        super().__init__(f"The model cannot run on a GPU: {why}. accelerator='cpu' needs none.")
        self.why = why


class CompiledFile:
    """A model file made ready to run.

    Args:
        content: its bytes.
        accelerator: "gpu": all of it on the GPU, or an error; "cpu"; "auto": the GPU if that is possible, else the CPU.
        num_threads: of the CPU.
        half: lets the GPU compute in float16, which is faster and less exact.
    Raises:
        NoGpuError: "gpu" is asked for and not possible.
        RuntimeError: LiteRT cannot run the file.
        ImportError: ai-edge-litert is not installed.

    Attributes:
        device: where it runs, in words: "GPU", "CPU", or "CPU (no GPU: ...)".
    """

    def __init__(self, content: bytes, accelerator: str = "auto", num_threads: int = 1, half: bool = False):
        if accelerator not in ACCELERATORS:
            raise ValueError(f"Unknown accelerator {accelerator!r}. Expected one of {', '.join(ACCELERATORS)}.")
        self._content = content  # LiteRT reads from it as long as the model lives
        self._model = None
        self.device = "CPU"
        if accelerator != "cpu":
            why_not = self._compile_for_gpu(num_threads, half)
            if why_not and accelerator == "gpu":
                raise NoGpuError(why_not)
            self.device = f"CPU (no GPU: {why_not})" if why_not else "GPU"
        if self._model is None:
            with native_stderr():
                self._compile("CPU", num_threads, half)
        (self.signature, names), = self._model.get_signature_list().items()
        inputs, outputs = (
            self._model.get_input_tensor_details(self.signature), self._model.get_output_tensor_details(self.signature),
        )
        self.shapes = {name: tuple(details["shape"]) for name, details in {**inputs, **outputs}.items()}
        self.input_names = names["inputs"]
        self._inputs = dict(zip(names["inputs"], self._model.create_input_buffers(0), strict=True))
        self._outputs = dict(zip(names["outputs"], self._model.create_output_buffers(0), strict=True))
        with native_stderr():  # a first run makes the rest ready, and tells the terminal
            self.write(**{name: np.zeros(self.shapes[name], np.float32) for name in self.input_names})
            self.run()

    def write(self, **inputs) -> None:
        """Sets inputs by name; one that is not set keeps its value."""
        for name, value in inputs.items():
            self._inputs[name].write(np.ascontiguousarray(value, np.float32))

    def compute(self) -> None:
        """Runs the model on the inputs that were written and leaves its outputs where they are."""
        self._model.run_by_name(self.signature, self._inputs, self._outputs)

    def run(self) -> dict[str, np.ndarray]:
        """Runs the model on the inputs that were written; float32 outputs by name."""
        self.compute()
        return {
            name: buffer.read(math.prod(self.shapes[name]), np.float32).reshape(self.shapes[name])
            for name, buffer in self._outputs.items()
        }

    def _compile_for_gpu(self, num_threads, half):
        """Returns why it is not possible, or None where it was."""
        with native_stderr() as said:
            try:
                self._compile("GPU", num_threads, half)
            except RuntimeError:
                return _reason(said())
        return None

    def _compile(self, accelerator, num_threads, half):
        try:
            from ai_edge_litert import compiled_model as litert
        except ImportError as error:
            raise ImportError("LiteRT files need ai-edge-litert: pip install 'tf_probunet[edge]'.") from error
        options = litert.Options(
            hardware_accelerators=getattr(litert.HardwareAccelerator, accelerator),
            cpu_options=litert.CpuOptions(num_threads=num_threads),
            gpu_options=litert.GpuOptions(enforce_f32=not half),
        )
        self._model = litert.CompiledModel.from_buffer(self._content, environment=_environment(), options=options)


@functools.cache
def _environment():
    """LiteRT's, one for all models of the process: each would find its accelerators anew, and tell the terminal."""
    from ai_edge_litert import compiled_model as litert

    # The GPU's driver keeps its cache there; without the variable it gives up.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    where = os.path.dirname(os.path.abspath(litert.__file__))
    return litert.Environment.create(options=litert.EnvironmentOptions(runtime_path=where))


def _reason(said):
    """LiteRT writes its reasons to the terminal alone, a line an operation: "BROADCAST_TO: Operation is not supported."."""
    if "Failed to initialize WebGPU" in said:
        return NO_DRIVER
    operations = re.findall(r"^([A-Z][A-Z0-9_]+: .+?)\.?$", said, re.MULTILINE)
    operations = [line for line in operations if line.split(":")[0] not in ("INFO", "WARNING", "ERROR")]
    return "; ".join(operations) or "LiteRT does not run all of its operations there"
