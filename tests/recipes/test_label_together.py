"""Several models in one pass: each says what it says alone, and what they share is done once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import clinnlp
from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.engines.base import engine_named
from clinnlp.labeling.model import ModelFolder
from clinnlp.labeling.predict import predict_chunk
from clinnlp.labeling.together import Member, Together, alike, predict_together, share
from clinnlp.models.folder import Card
from clinnlp.models.load import Base
from clinnlp.tasks.base import Task
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from tests.recipes.command import clinnlp as command
from tests.recipes.command import read_json
from tests.tiny import sentences

Tiny = Callable[[str], Path]
NOTES = [Document(str(n), text) for n, text in enumerate([*sentences(20), "", " ".join(sentences(9))])]


@pytest.fixture
def folders(ner_run: Path, labels_run: Path, type_run: Path) -> dict[str, Path]:
    """Two adapters of one base, and a model of another."""
    return {"spans": ner_run / "model", "labels": labels_run / "model", "type": type_run / "model"}


@pytest.fixture
def words(folders: dict[str, Path], corpus: Path) -> tuple[object, ...]:
    named = [word for name, folder in folders.items() for word in (f"--models.{name}", folder)]
    return ("label", "--workers", 0, "--notes", corpus / "test.jsonl", "--shard_documents", 5, *named)


def test_tables_are_those_of_separate_runs(
    words: tuple[object, ...], folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(*words, "--out", out, "--to", "jsonl", "--to_path", tmp_path / "to.jsonl") == 0
    assert "spans: PROBLEM" in capsys.readouterr().err
    spans, documents = clinnlp.read_labels(out)
    assert len(spans) > 12 and documents.labels.map(len).sum() > 12
    for name, folder in folders.items():
        assert command(*words[:7], "--model", folder, "--out", tmp_path / name) == 0
        alone = clinnlp.read_labels(tmp_path / name)
        mine = spans[spans.model == name].drop(columns="model").reset_index(drop=True)
        pandas.testing.assert_frame_equal(mine, alone.spans, check_exact=True)
        for row, one in zip(documents.itertuples(), alone.documents.itertuples(), strict=True):
            said = zip(row.label_models, row.labels, row.label_scores, strict=True)
            assert [(label, score) for by, label, score in said if by == name] == list(
                zip(one.labels, one.label_scores, strict=True)
            )
            assert (row.document_id, row.characters_read, row.status) == (
                one.document_id, one.characters_read, one.status,
            )  # fmt: skip
    first = next(iter(clinnlp.read(tmp_path / "to.jsonl", "jsonl")))
    assert {span.attributes["model"] for span in first.spans} == {"spans"}
    assert {label.partition(":")[0] for label in first.labels} <= {"labels", "type"} and first.labels
    assert command("verify", out) == 0


def test_the_models_are_part_of_the_run(
    words: tuple[object, ...], folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(*words, "--out", out) == 0
    assert command(*words, "--out", out) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert command(*words[:-2], "--out", out) == 4
    assert "differs in base" not in (told := capsys.readouterr().err) and "models" in told
    swapped = [word for name in reversed(folders) for word in (f"--models.{name}", folders[name])]
    assert command(*words[:7], *swapped, "--out", out) == 4
    assert "models" in capsys.readouterr().err
    assert command(*words, "--model", folders["type"], "--out", tmp_path / "b") == 2
    assert command(*words[:7], "--out", tmp_path / "b") == 2
    assert "give either model or models" in capsys.readouterr().err
    assert command(*words[:7], "--models.a/b", folders["type"], "--out", tmp_path / "b") == 2
    assert "models: 1 names are not made of letters" in capsys.readouterr().err


def test_a_note_that_one_model_fails_on_is_set_aside_for_all(
    words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NoteClassification.decode

    def decode(task: Any, documents: Any, *given: Any) -> Any:
        if any(document.id == "test-3" for document in documents):
            raise RuntimeError("Qvortrup")
        return real(task, documents, *given)

    monkeypatch.setattr(NoteClassification, "decode", decode)
    assert command(*words, "--out", tmp_path / "out") == 3
    documents = clinnlp.read_labels(tmp_path / "out").documents
    assert documents[documents.status == "quarantined"].document_id.tolist() == ["test-3"]


def test_workers_and_an_engine_for_each(
    words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.labeling import auto

    engines = iter(["torch-fp32", "packed-fp32", "onnx"])
    monkeypatch.setattr(auto, "choose", lambda *given: (engine_named(next(engines)), []))
    out = tmp_path / "out"
    assert command(*words, "--workers", 1, "--engine", "auto", "--out", out) == 0
    kept = read_json(out / "engine.json")
    assert [kept[f"engine.{name}"]["name"] for name in ("spans", "labels", "type")] == ["torch", "packed", "onnx"]
    fingerprint = read_json(out / "run.json")["fingerprint"]
    assert "version.onnxruntime" in fingerprint and '"packed"' in fingerprint["engine.labels"]
    assert "model.type/model.safetensors" in fingerprint
    assert command(*words, "--engine", "auto", "--out", out) == 0, "pinned"


def head(tiny: Tiny, folder: Path, task: Task, labels: tuple[str, ...], seed: int = 0, other: bool = False) -> Path:
    """A model folder with a random head on the encoder of a base, or on another encoder."""
    schema = LabelSchema(labels)
    torch.manual_seed(seed)
    model, _ = Base(str(tiny("bert"))).model(task.model_class, task.head_config(schema))
    inner: Any = model
    if isinstance(task, Ner):
        inner.classifier.weight.data.mul_(200)
    if other:
        inner.base_model.encoder.layer[1].output.dense.weight.data[0, 0] += 1
    inner.save_pretrained(folder)
    NoteTokenizer.load(tiny("bert")).hf.save_pretrained(folder)
    Card(task, schema, "x", "").write(folder)
    return folder


@pytest.fixture
def heads(tiny: Tiny, tmp_path: Path) -> dict[str, Path]:
    """Three heads on one encoder, two of them for spans, one with windows of its own, and one on another encoder."""
    window: dict[str, Any] = {"window": 24, "overlap": 6}
    return {
        "a": head(tiny, tmp_path / "a", Ner(**window), ("A", "B")),
        "b": head(tiny, tmp_path / "b", Ner(**window), ("A", "C", "D"), seed=1),
        "note": head(tiny, tmp_path / "note", NoteClassification(**window, multi_label=True), ("x", "y"), seed=2),
        "wide": head(tiny, tmp_path / "wide", Ner(window=48, overlap=6), ("A", "B"), seed=3),
        "other": head(tiny, tmp_path / "other", Ner(**window), ("A", "B"), seed=4, other=True),
    }


@pytest.mark.parametrize(("name", "left"), [("torch", 3), ("packed-fp32", 4), ("packed-bf16", 4), ("onnx", 5)])
def test_heads_on_one_encoder_say_to_the_bit_what_they_say_alone(name: str, left: int, heads: dict[str, Path]) -> None:
    engine = engine_named(name)
    members = [Member.load(ModelFolder(folder, None, engine, key)) for key, folder in heads.items()]
    groups = alike(members)
    assert [[members[n].name for n in group] for group in groups] == [["a", "b", "note", "other"], ["wide"]]
    assert sum(share([members[n] for n in group]) for group in groups) == left
    said = predict_together(members, groups, NOTES, 128)
    for member, found in zip(members, said, strict=True):
        alone = Member.load(ModelFolder(heads[member.name], None, engine, member.name))
        alone.trained.runner = alone.run
        wanted = predict_chunk(alone.trained, NOTES, 128)
        assert found == wanted
        assert any(document.spans or document.meta.get("label_scores") for document in wanted)


def test_an_encoder_is_run_once_a_batch(heads: dict[str, Path]) -> None:
    members = [Member.load(ModelFolder(heads[key], None, None, key)) for key in ("a", "b", "note")]
    groups, calls = alike(members), list[int]()
    share(members)
    first: Any = members[0].module
    first.base_model.encoder.register_forward_hook(lambda *given: calls.append(1))
    predict_together(members, groups, NOTES, 10_000)
    assert sum(calls) == 1
    other: Any = members[1].module
    assert sum(weight.numel() for weight in other.parameters()) < 1000, "its own encoder is gone"


def test_adapters_of_one_base_hold_what_they_share_once(folders: dict[str, Path]) -> None:
    members = [Member.load(ModelFolder(folders[name], None, None, name)) for name in ("spans", "labels")]
    assert share(members) == 2, "each has an encoder of its own"
    one, other = (dict(member.module.named_parameters()) for member in members if member.module is not None)
    name = "bert.embeddings.word_embeddings.weight"
    assert one[name].data_ptr() == other[name].data_ptr()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert not one[query].equal(other[query])


def test_a_text_of_which_no_tokenizer_keeps_anything(heads: dict[str, Path]) -> None:
    models = tuple(ModelFolder(heads[name], None, None, name) for name in ("a", "note"))
    from clinnlp.labeling.shard import status_of

    found = Together(models).load()([Document("1", "\ue000"), Document("2", "fever")], 100)
    assert [status_of(document) for document in found] == ["untokenizable", "labeled"]
