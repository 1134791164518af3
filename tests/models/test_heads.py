"""A base that was fine-tuned before: its encoder is taken, and its head only where it answers the same labels."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from clinnlp.core.schema import LabelSchema
from clinnlp.errors import IntegrityError
from clinnlp.models.load import Base, load_trained
from clinnlp.tasks.ner import Ner
from tests.models.test_folder import SCHEMA, folder
from tests.models.test_weights import adapter, change_weights

__all__ = ["adapter", "folder"]  # fixtures

OTHER = LabelSchema.of({"ANATOMY"})
RENAMED = LabelSchema(tuple(f"{label}_2" for label in SCHEMA.labels))


def taken(where: Path, schema: LabelSchema, model_class: str = Ner.model_class) -> tuple[Any, list[str]]:
    head = Ner().head_config(schema) if model_class != "AutoModelForMaskedLM" else None
    return Base(str(where)).model(model_class, head)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["model", "adapter", "foreign"])
def test_other_labels_get_a_fresh_head_on_the_same_encoder(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = request.getfixturevalue("adapter").parent if kind == "adapter" else request.getfixturevalue("folder")
    before: Any = load_trained(where).model
    if kind == "foreign":  # a folder that clinnlp did not make
        (where / "clinnlp.json").unlink()
    for schema in (OTHER, RENAMED):
        model, fresh = taken(where, schema)
        assert same(model.base_model, before.base_model)
        assert fresh == ["classifier.bias", "classifier.weight"] or fresh == ["classifier.weight", "classifier.bias"]
        assert list(model.config.id2label.values()) == list(Ner().outputs(schema))
        assert model.classifier.weight.shape[0] == len(Ner().outputs(schema))
        assert not torch.equal(model.classifier.weight[:3], before.classifier.weight[:3])


@pytest.mark.parametrize("kind", ["folder", "adapter"])
def test_the_same_labels_keep_the_head(kind: str, request: pytest.FixtureRequest) -> None:
    given = request.getfixturevalue(kind)
    where = given.parent if kind == "adapter" else given
    model, fresh = taken(where, SCHEMA)
    assert fresh == []
    assert same(model, load_trained(where).model)
    assert all(weight.requires_grad for weight in model.parameters()), "all may move again, as of any other base"


def test_a_task_model_can_be_pretrained_further(folder: Path) -> None:
    before: Any = load_trained(folder).model
    model, fresh = taken(folder, SCHEMA, "AutoModelForMaskedLM")
    assert same(model.base_model, before.base_model)
    assert fresh and all(name.startswith("cls.") for name in fresh)


def test_an_encoder_of_another_shape_is_refused(folder: Path) -> None:
    (folder / "clinnlp.json").unlink()
    name = "bert.encoder.layer.1.output.dense.weight"
    change_weights(folder / "model.safetensors", lambda weights: weights | {name: weights[name][:, :-1].contiguous()})
    with pytest.raises(IntegrityError, match="1 encoder weights are missing"):
        taken(folder, OTHER)


def test_a_head_of_another_shape_is_refused_where_it_is_wanted(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    change_weights(
        folder / "model.safetensors", lambda weights: weights | {"classifier.bias": weights["classifier.bias"][:-1]}
    )
    assert settings["id2label"]
    with pytest.raises(IntegrityError, match=r"1 weights are misshapen, classifier\.bias first"):
        load_trained(folder)
