"""ONNX Runtime: the model as an ONNX graph, in fp32 or with int8 matrix products."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from clinnlp.engines._graph import INPUTS, OUTPUT, one_by_one, quiet, threads, traceable
from clinnlp.engines.base import PROBE, Engine, check_runner, need, plain_runner, probe_rows, unfit
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.models.load import Runner, Trained

FILE = "model.onnx"
LARGEST = 2 * 1024**3 - 1024**2  # bytes of weights: a protobuf message ends at 2 GiB


@dataclass(frozen=True)
class Onnx(Engine):
    """ONNX Runtime on the processor: runs wherever onnxruntime does, with int8 also on processors without bf16.

    Rows are run one by one, without padding. The exporter is torch's; weights are in the file, which is at most 2 GB.
    """

    library: ClassVar[str] = "onnxruntime"

    precision: Literal["fp32", "int8"] = "fp32"
    """int8 rounds the weights of linear layers by output channel, and their inputs at run time; the head stays fp32."""
    keep: int = 0
    """With int8: how many linear layers stay fp32, those with the most extreme inputs, which int8 rounds worst."""
    threads: int | None = None
    """Processor threads; null takes as many as torch would."""

    def export(self, trained: Trained, folder: Path) -> None:
        """Write `model.onnx`. Raises ConfigError if the fp32 graph does not answer as plain torch does."""
        need("onnx", "onnx", "onnxscript", "onnxruntime")
        if 4 * sum(weight.numel() for weight in trained.model.parameters()) > LARGEST:
            raise ConfigError(
                "the weights are more than the 2 GiB that one ONNX file holds",
                where="engine",
                next="choose openvino, or packed on the model folder",
            )
        wanted = plain_runner(trained)(probe_rows(trained), sum(PROBE))
        try:
            graph = _graph_of(trained)
        except Exception:  # the exporter fails in many ways, and its messages fill pages
            raise unfit(self, trained) from None
        path = folder / FILE
        path.write_bytes(graph.SerializeToString())
        check_runner(self, trained, self.open(folder), wanted)
        if self.precision == "int8":
            nodes = _linear(graph)
            kept = [nodes[-1], *(nodes[number] for number in _extreme(trained)[: self.keep])]  # the head is the last
            _products_in_int8(path, kept)

    def open(self, folder: Path) -> Runner:
        """The runner of `model.onnx`."""
        need("onnx", "onnxruntime")
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # its builds for Windows have them
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(self.threads), 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # workers share the processors
        try:
            session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class; their text may quote the file
            raise IntegrityError(
                f"ONNX Runtime cannot open it ({type(error).__name__})",
                where=str(folder / FILE),
                next="export it again",
            ) from None
        return one_by_one(lambda given: session.run([OUTPUT], given)[0])


def _graph_of(trained: Trained) -> Any:
    """The model as an ONNX graph of any number of rows of any length; no path of this machine is in it."""
    import torch

    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quiet(), traceable(trained, "eager") as (module, example):
        program = torch.onnx.export(
            module, (), kwargs=example, dynamo=True, dynamic_shapes=dict.fromkeys(INPUTS, free), verbose=False,
            input_names=list(INPUTS), output_names=[OUTPUT],
        )  # fmt: skip
    if program is None:
        raise AssertionError("torch.onnx.export gives a program with dynamo=True")
    proto: Any = program.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer, proto.graph, proto):
        part.ClearField("metadata_props")  # stack traces, with the folders of whoever exported
        part.ClearField("doc_string")
    return proto


def _linear(proto: Any) -> list[str]:
    """The names of the products with stored weights, in the order in which they are computed."""
    stored = {weights.name for weights in proto.graph.initializer if len(weights.dims) == 2}
    return [n.name for n in proto.graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in stored]


def _extreme(trained: Trained) -> list[int]:
    """The linear layers by number in the order of computing; those with the farthest outliers as inputs first."""
    import torch

    model: Any = trained.model
    reach: dict[Any, float] = {}

    def look(layer: Any, inputs: tuple[Any, ...]) -> None:
        found = float(inputs[0].abs().max() / inputs[0].square().mean().sqrt())
        reach[layer] = max(reach.get(layer, 0.0), found)

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    try:
        run = plain_runner(trained)
        for row in probe_rows(trained):
            run([row], len(row))
    finally:
        for hook in hooks:
            hook.remove()
    values = list(reach.values())
    return sorted(range(len(values)), key=lambda number: -values[number])


def _products_in_int8(path: Path, kept: list[str]) -> None:
    """Round the weights of all linear layers but some, to 7 bits.

    Processors without VNNI add two products in 16 bits, which weights of 8 bits overflow without a word: the file would
    answer otherwise there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            str(path), str(path), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"], nodes_to_exclude=kept,
        )  # fmt: skip
