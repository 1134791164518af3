"""OpenVINO: the model as an OpenVINO graph, in fp32, bf16 or with int8 matrix products."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from clinnlp.engines._graph import INPUTS, OUTPUT, one_by_one, quiet, threads, traceable
from clinnlp.engines.base import PROBE, Engine, check_runner, need, plain_runner, probe_rows, unfit
from clinnlp.errors import IntegrityError
from clinnlp.models.load import Runner, Trained

FILE = "openvino_model.xml"  # its weights are in openvino_model.bin: plain numbers, no pickle


@dataclass(frozen=True)
class Openvino(Engine):
    """OpenVINO on the processor: the fastest in bf16 on processors with matrix units, in int8 on those without.

    Rows are run one by one, without padding.
    """

    library: ClassVar[str] = "openvino"

    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """bf16 rounds where it is faster; int8 rounds the weights of linear layers by output channel, their inputs at run
    time; the head stays fp32."""
    threads: int | None = None
    """Processor threads; null takes as many as torch would."""

    def export(self, trained: Trained, folder: Path) -> None:
        """Write `openvino_model.xml` and `.bin`. Raises ConfigError if fp32 does not answer as plain torch does."""
        openvino = _library()
        wanted = plain_runner(trained)(probe_rows(trained), sum(PROBE))
        try:
            with quiet(), traceable(trained, "sdpa") as (module, example):
                model = openvino.convert_model(module, example_input=example)
        except Exception:  # the converter fails in many ways, and its messages fill pages
            raise unfit(self, trained) from None
        model.outputs[0].get_tensor().set_names({OUTPUT})
        check_runner(self, trained, _compiled(model, {"INFERENCE_PRECISION_HINT": "f32"}), wanted)
        if self.precision == "int8":
            _weights_in_int8(model)
        openvino.save_model(model, str(folder / FILE), compress_to_fp16=False)

    def open(self, folder: Path) -> Runner:
        """The runner of `openvino_model.xml`."""
        openvino, path = _library(), folder / FILE
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads(self.threads),
            "ENABLE_CPU_PINNING": False,  # workers share the processors
            "NUM_STREAMS": 1,
        }
        try:
            core = openvino.Core()
            core.set_property({"ENABLE_MMAP": False})
            model = core.read_model(str(path))
            if self.precision == "int8":
                options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _group(model)
            return _compiled(model, options)
        except Exception as error:  # its errors have no common class; their text may quote the file
            raise IntegrityError(
                f"OpenVINO cannot open it ({type(error).__name__})", where=str(path), next="export it again"
            ) from None


def _library() -> Any:
    """OpenVINO, without its telemetry."""
    need("openvino", "openvino")
    # it sends an event to a tracking service at import, unless its telemetry package cannot be imported
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _compiled(model: Any, options: dict[str, Any]) -> Runner:
    request = _library().Core().compile_model(model, "CPU", options).create_infer_request()

    def answer(given: dict[str, Any]) -> Any:
        return request.infer({name: given[name] for name in INPUTS})[0].copy()

    return one_by_one(answer)


def _linear(model: Any) -> list[tuple[Any, Any]]:
    """The products with constant weights (outputs, inputs), as pairs of operation and constant."""
    found = []
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "MatMul" and operation.get_attributes()["transpose_b"]:
            weights = operation.input(1).get_source_output().get_node()
            if weights.get_type_name() == "Constant" and len(weights.shape) == 2:
                found.append((operation, weights))
    return found


def _weights_in_int8(model: Any) -> None:
    """Round the weights of all linear layers but the last, the head, by output channel."""
    import openvino.opset13 as operations

    for operation, weights in _linear(model)[:-1]:
        values = weights.get_data()
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / 127
        rounded = operations.convert(operations.constant(np.round(values / scale).astype(np.int8)), "f32")
        restored = operations.multiply(rounded, operations.constant(scale.astype(np.float32)))
        operation.input(1).replace_source_output(restored.output(0))


def _group(model: Any) -> int:
    """How many inputs of a linear layer share a scale: as many as divide those of every layer."""
    stored = [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant" and len(op.shape) == 2]
    return math.gcd(*(op.shape[1] for op in stored if op.get_element_type().get_type_name() == "i8"))
