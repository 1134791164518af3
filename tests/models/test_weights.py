"""Weights that are broken, missing, too many or no numbers: refused, never filled up with random ones."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ChangedError, ConfigError, IntegrityError
from clinnlp.models.folder import Card
from clinnlp.models.load import Base, load_trained
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.ner import Ner
from tests.models.test_folder import SCHEMA, Tiny, folder, spoil

__all__ = ["folder"]  # a fixture


def test_weights_too_many_are_refused(folder: Path) -> None:
    change_weights(folder / "model.safetensors", lambda weights: {**weights, "bert.extra": torch.ones(1)})
    with pytest.raises(IntegrityError, match=r"1 weights are there and not known, (bert\.)?extra first"):
        load_trained(folder)


def change_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(path)), path, {"format": "pt"})


@pytest.fixture
def adapter(tiny: Tiny, tmp_path: Path) -> Path:
    """A model folder with an adapter; its file of weights is returned."""
    base = Base(str(tiny("bert")))
    model: Any = Lora().apply(base.model(Ner.model_class, Ner().head_config(SCHEMA))[0])
    model.save_pretrained(tmp_path / "adapter")
    NoteTokenizer.load(tiny("bert")).hf.save_pretrained(tmp_path / "adapter")
    Card(Ner(window=64, overlap=8), SCHEMA, base.name, base.sha256()).write(tmp_path / "adapter")
    load_trained(tmp_path / "adapter")
    return tmp_path / "adapter" / "adapter_model.safetensors"


def test_a_base_named_from_another_working_folder_is_found(
    adapter: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = tmp_path / "work" / "bases" / "tiny", tmp_path / "work" / "runs" / "ner" / "model"
    shutil.copytree(tiny("bert"), base)
    shutil.copytree(adapter.parent, model)
    replace(Card.read(model), base="bases/tiny").write(model)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_trained(model).card.base == str(base)
    shutil.copytree(tiny("roberta"), tmp_path / "work" / "runs" / "bases" / "tiny")
    with pytest.raises(ChangedError, match="adapter expects base weights"):
        load_trained(model)
    with pytest.raises(ConfigError, match="hub name"):
        load_trained(shutil.copytree(model, tmp_path / "elsewhere" / "model"))


Weights = dict[str, torch.Tensor]
SPOILED: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "a layer lacks": (
        lambda w: {n: v for n, v in w.items() if "layer.1.attention.self.query.lora_A" not in n},
        r"1 weights are missing from the adapter, .*layer\.1\.attention\.self\.query\.lora_A\.weight first",
    ),
    "one too many": (lambda w: {**w, "base_model.extra": torch.ones(1)}, "1 weights are in the adapter and not known"),
    "the head lacks": (
        lambda w: {n: v for n, v in w.items() if "classifier" not in n}, r"cannot load the adapter \(KeyError\)",
    ),
    "another rank": (lambda w: {n: v[:4] if "lora_A" in n else v for n, v in w.items()}, "cannot load the adapter"),
    "not a number": (lambda w: {n: v * float("nan") for n, v in w.items()}, "weights hold NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILED)
def test_an_adapter_that_is_not_whole_is_refused(how: str, adapter: Path) -> None:
    change, told = SPOILED[how]
    change_weights(adapter, change)
    with pytest.raises(IntegrityError, match=told):
        load_trained(adapter.parent)


def test_a_torn_adapter_is_refused(adapter: Path) -> None:
    adapter.write_bytes(adapter.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match="cannot load the adapter"):
        load_trained(adapter.parent)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "cannot load the adapter"),
        ({"peft_type": "EVIL"}, "cannot load the adapter"),
        ({"use_dora": True}, "12 weights are missing from the adapter"),
        ({"auto_mapping": {"base_model_class": "Evil", "parent_library": "antigravity"}}, ""),
        ({"base_model_name_or_path": "https://evil.example/model"}, ""),  # the base is what the card says
    ],
)
def test_the_settings_of_an_adapter_name_no_code(settings: dict[str, Any], told: str, adapter: Path) -> None:
    spoil(adapter.with_name("adapter_config.json"), **settings)
    if told:
        with pytest.raises(IntegrityError, match=told):
            load_trained(adapter.parent)
    else:
        load_trained(adapter.parent)
    assert "antigravity" not in sys.modules


def huge_header(raw: bytes) -> bytes:
    return (4 * 2**30).to_bytes(8, "little") + raw[8:]


def with_header(raw: bytes, change: Callable[[str], str]) -> bytes:
    size = int.from_bytes(raw[:8], "little")
    header = change(raw[8 : 8 + size].decode()).encode()
    return len(header).to_bytes(8, "little") + header + raw[8 + size :]


def overlapping(raw: bytes) -> bytes:
    def change(header: str) -> str:
        values = json.loads(header)
        first, second, *_ = [name for name in values if name != "__metadata__"]
        values[second]["data_offsets"] = values[first]["data_offsets"]
        return json.dumps(values)

    return with_header(raw, change)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda raw: raw[:-4],
    "a header of 4 GB": huge_header,
    "overlapping": overlapping,
    "bytes too many": lambda raw: raw + b"x" * 8,
    "another type": lambda raw: with_header(raw, lambda header: header.replace('"F32"', '"F64"', 1)),
    "a name twice": lambda raw: with_header(raw, lambda header: header[:-1].rstrip("}") + "}," + header[1:]),
    "no file of its kind": lambda raw: b"PK\x03\x04" + raw,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_weight_file_is_refused(how: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    with pytest.raises(IntegrityError, match="cannot load the base model as AutoModelForTokenClassification"):
        load_trained(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float, folder: Path) -> None:
    def one_is_bad(weights: Weights) -> Weights:
        return weights | {"classifier.weight": torch.full_like(weights["classifier.weight"], bad)}

    change_weights(folder / "model.safetensors", one_is_bad)
    with pytest.raises(IntegrityError, match=r"1 weights hold NaN or infinity, classifier\.weight first"):
        load_trained(folder)
