"""What every engine keeps to; a new file in clinnlp/engines is tested without editing this one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp import plugins
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.engines.base import batches, plain_runner
from clinnlp.errors import ConfigError
from clinnlp.models.folder import Card
from clinnlp.models.load import Base, Trained
from tests.tiny import TOKENIZER_OF

NAMES = plugins.names("engines")
TASKS = ("ner", "note_classification")
SCHEMA = LabelSchema(("a", "b", "c"))
LENGTHS = (24, 5, 24, 60, 3, 17, 60, 60, 1)
UNFIT = {("packed", "deberta_v2")}  # its attention is its own
ROUNDED = [(name, value) for name in NAMES for value in plugins.variants(plugins.find("engines", name))]
ROUNDED = [(name, value) for name, value in ROUNDED if value not in ("fp32", "auto")]
Tiny = Callable[[str], Path]


def trained(tiny: Tiny, kind: str, task: str) -> Trained:
    plugin = plugins.find("tasks", task)
    options: dict[str, Any] = {"multi_label": False} if task == "note_classification" else {}
    chosen = plugin(window=64, overlap=16, **options)
    torch.manual_seed(0)
    model, _ = Base(str(tiny(kind))).model(chosen.model_class, chosen.head_config(SCHEMA))
    return Trained(model.eval(), NoteTokenizer.load(tiny(kind)), chosen, SCHEMA, Card(chosen, SCHEMA, "x", ""))


def rows(model: Trained) -> list[Any]:
    draw = np.random.default_rng(1)
    return [
        model.tokenizer.wrap(draw.integers(5, model.tokenizer.vocab_size, length - model.tokenizer.specials))
        if length > model.tokenizer.specials
        else np.array([7], np.int32)
        for length in LENGTHS
    ]


def engine(name: str) -> Any:
    return plugins.find("engines", name)(precision="fp32")


def test_there_are_engines() -> None:
    assert {"torch", "packed", "onnx", "openvino"} <= set(NAMES)
    assert {("packed", "bf16"), ("onnx", "int8"), ("openvino", "bf16"), ("openvino", "int8")} <= set(ROUNDED)


def every_engine_and_architecture() -> list[Any]:
    """All of them; the exporter of ONNX takes so long that most are in the slow run only."""
    return [
        pytest.param(name, kind, task, marks=[pytest.mark.slow] if name == "onnx" and kind != "bert" else [])
        for name in NAMES
        for kind in TOKENIZER_OF
        for task in TASKS
    ]


@pytest.mark.parametrize(("name", "kind", "task"), every_engine_and_architecture())
def test_answers_are_those_of_the_model_row_by_row(name: str, kind: str, task: str, tiny: Tiny) -> None:
    model = trained(tiny, kind, task)
    given = rows(model)
    with torch.inference_mode():
        alone: Any = model.model
        wanted = [alone(input_ids=torch.from_numpy(row[None].astype(np.int64))).logits[0].numpy() for row in given]
    if (name, kind) in UNFIT:
        with pytest.raises(ConfigError, match=r"cannot run a deberta-v2 model.*--engine torch"):
            engine(name).runner(model)
        return
    run = engine(name).runner(model)
    for budget in (1, 130, 10_000):
        found = run(given, budget)
        assert [answer.shape for answer in found] == [answer.shape for answer in wanted]
        assert all(answer.dtype == np.float32 for answer in found)
        assert max(np.abs(a - b).max() for a, b in zip(found, wanted, strict=True)) < 1e-5
    assert run([], 100) == []


def rounds(name: str, precision: str) -> bool:
    """OpenVINO takes bf16 where the processor has it, and fp32 elsewhere."""
    if (name, precision) != ("openvino", "bf16"):
        return True
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_weights_that_one_onnx_file_cannot_hold(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from clinnlp.engines import onnx

    monkeypatch.setattr(onnx, "LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"the weights are more than the 2 GiB .* Next: choose openvino"):
        onnx.Onnx().runner(trained(tiny, "bert", "ner"))


def test_layers_with_extreme_inputs_may_stay_fp32_in_onnx(tiny: Tiny, tmp_path: Path) -> None:
    import onnx

    from clinnlp.engines.onnx import Onnx

    model = trained(tiny, "bert", "ner")
    with torch.no_grad():  # one input of this layer is 100 times the others, so that nearly all of them round to 0
        model.model.bert.encoder.layer[1].output.dense.weight.mul_(3)
        model.model.bert.encoder.layer[1].intermediate.dense.bias[0] += 100
    Onnx(precision="int8", keep=1).export(model, tmp_path)
    names = {node.op_type: 0 for node in onnx.load(tmp_path / "model.onnx").graph.node}
    for node in onnx.load(tmp_path / "model.onnx").graph.node:
        names[node.op_type] += 1
    assert names["MatMulInteger"] == 2 * 6 - 1
    weights = [onnx.numpy_helper.to_array(held) for held in onnx.load(tmp_path / "model.onnx").graph.initializer]
    most = [int(np.abs(held.astype(np.int64)).max()) for held in weights if held.dtype == np.int8 and held.ndim == 2]
    assert len(most) == 2 * 6 - 1 and 32 < max(most) <= 64, "two products of a byte and a weight must fit into 16 bits"
    wanted, given = plain_runner(model)(rows(model), 1000), rows(model)
    run = Onnx().open(tmp_path)
    off = max(np.abs(a - b).max() for a, b in zip(run(given, 1000), wanted, strict=True))
    Onnx(precision="int8").export(model, tmp_path)
    run = Onnx().open(tmp_path)
    assert off < max(np.abs(a - b).max() for a, b in zip(run(given, 1000), wanted, strict=True)) / 3


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("name", "precision"), ROUNDED)
def test_rounded_answers_are_near_and_not_the_same_and_the_model_stays_as_it_was(
    name: str, precision: str, task: str, tiny: Tiny
) -> None:
    model = trained(tiny, "bert", task)
    given = rows(model)
    before = plain_runner(model)(given, 1000)
    run = plugins.find("engines", name)(precision=precision).runner(model)
    found = run(given, 1000)
    off = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, before, strict=True))
    assert (1e-5 if rounds(name, precision) else -1) < off < 0.2
    after = plain_runner(model)(given, 1000)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    if name in ("onnx", "openvino"):  # whatever else is in the shard: a redone one has the same bytes
        alone = [run([row], 1000)[0] for row in reversed(given)]
        assert all((a == b).all() for a, b in zip(found, reversed(alone), strict=True))


def test_a_packed_row_does_not_see_its_neighbours(tiny: Tiny) -> None:
    model = trained(tiny, "modernbert", "ner")  # its local layers see 16 tokens: rows of 60 need their own mask
    run, given = engine("packed").runner(model), rows(model)
    first = run(given, 10_000)
    given[3] = given[3][::-1].copy()
    second = run(given, 10_000)
    assert [bool(np.abs(a - b).max() > 1e-3) for a, b in zip(first, second, strict=True)] == [
        number == 3 for number in range(len(given))
    ]


def test_batches_by_hand() -> None:
    assert list(batches([3, 9, 3, 5, 3], 9, padded=True)) == [[1], [3], [0, 2, 4]]
    assert list(batches([3, 9, 3, 5, 3], 9, padded=False)) == [[1], [3, 0], [2, 4]]
    assert list(batches([20, 2], 9, padded=True)) == list(batches([20, 2], 9, padded=False)) == [[0], [1]]
    assert list(batches([], 9, padded=True)) == []
