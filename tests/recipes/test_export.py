"""Export: a folder that clinnlp and plain ONNX Runtime or OpenVINO load, refused unless it says the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinnlp as package
from clinnlp.core.document import Document, Span
from clinnlp.engines.onnx import Onnx
from clinnlp.errors import IntegrityError, UnsafeError
from clinnlp.labeling.agree import Agreement, Bound, agreement
from clinnlp.models.load import load_trained
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from tests.recipes.command import clinnlp, notes, read_json


@pytest.fixture(scope="module")
def exported(ner_run: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entity model as int8 OpenVINO; a run folder, not to be changed."""
    out = tmp_path_factory.mktemp("export") / "run"
    words = ("--engine", "openvino-int8", "--data.dev", corpus / "dev.jsonl", "--out", out)
    assert clinnlp("export", ner_run / "model", *words) == 0
    return out


@pytest.fixture
def spoiled(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported model."""
    return Path(shutil.copytree(exported / "model", tmp_path / "model"))


def entity(run: Path) -> Any:
    return read_json(run / "metrics.json")["entity"]["strict"]


def test_label_and_evaluate_say_what_the_torch_model_says(
    exported: Path, ner_run: Path, corpus: Path, tmp_path: Path
) -> None:
    gold = ("--data.test", corpus / "test.jsonl", "--seed", 1)
    assert clinnlp("evaluate", "--model", exported / "model", *gold, "--out", tmp_path / "a") == 0
    assert clinnlp("evaluate", "--model", ner_run / "model", *gold, "--out", tmp_path / "b") == 0
    assert entity(tmp_path / "a")["micro"]["tp"] > 10
    assert entity(tmp_path / "a") == entity(tmp_path / "b")
    words = ("--notes", corpus / "test.jsonl", "--workers", 0)
    assert clinnlp("label", "--model", exported / "model", *words, "--out", tmp_path / "labels") == 0
    told = [json.loads(line) for line in (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()]
    wanted = {(d["id"], s["start"], s["end"], s["label"]) for d in told for s in d["spans"]}
    spans = package.read_labels(tmp_path / "labels").spans
    assert {(s.document_id, s.start, s.end, s.label) for s in spans.itertuples()} == wanted


def test_the_folder_holds_the_graph_and_no_torch_weights(exported: Path) -> None:
    card = read_json(exported / "model" / "clinnlp.json")
    assert card["engine"] == {"name": "openvino", "precision": "int8", "threads": None}
    assert {"openvino_model.xml", "openvino_model.bin", "config.json", "tokenizer.json"} <= card["files"].keys()
    assert not list((exported / "model").glob("*.safetensors"))
    told = read_json(exported / "agreement.json")
    assert told["of"] == "spans" and told["agreement"] >= 0.99 and told["notes"] == 10
    assert set(told["per_label"]) == {"DRUG", "PROBLEM"}
    assert read_json(exported / "manifest.json")["status"] == "done"
    assert sorted(path.name for path in exported.iterdir() if path.name.startswith("unproven")) == []


def test_plain_openvino_reads_it_in_padded_batches(exported: Path, ner_run: Path) -> None:
    import openvino
    import torch

    trained = load_trained(ner_run / "model")
    ids, mask = padded_rows()
    request = openvino.Core().compile_model(exported / "model" / "openvino_model.xml", "CPU")
    found = request({"input_ids": ids, "attention_mask": mask})["logits"]
    with torch.inference_mode():
        wanted = trained.model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()
    assert np.abs(found - wanted)[mask == 1].max() < 0.1 * np.abs(wanted).max()


def padded_rows() -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    ids, mask = draw.integers(5, 60, (3, 20)), np.ones((3, 20), np.int64)
    ids[1, 12:], mask[1, 12:] = 0, 0
    return ids, mask


def test_onnx_of_a_note_model_by_plain_onnxruntime(type_run: Path, corpus: Path, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    data = ("--data.dev", corpus / "dev.jsonl", "--data.labels_field", "note_type")
    assert clinnlp("export", type_run / "model", *data, "--engine", "onnx", "--out", tmp_path / "run") == 0
    folder = tmp_path / "run" / "model"
    ids, mask = padded_rows()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (found,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    with torch.inference_mode():
        wanted = load_trained(type_run / "model").model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()
    assert np.abs(found - wanted).max() < 1e-5
    assert read_json(tmp_path / "run" / "agreement.json") | {"per_label": 0} == {
        "of": "labels", "agreement": 1.0, "lost_points": 0.0, "notes": 10, "equal_notes": 10, "per_label": 0,
    }  # fmt: skip
    content = (folder / "model.onnx").read_bytes()
    assert b"site-packages" not in content and b"stack_trace" not in content
    gold = ("--data.test", corpus / "test.jsonl", "--data.labels_field", "note_type")
    assert clinnlp("evaluate", "--model", folder, *gold, "--out", tmp_path / "scores") == 0


def test_what_says_something_else_is_refused_with_its_table(
    ner_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--engine", "openvino-bf16", "--data.dev", corpus / "dev.jsonl", "--bound.lost_points", -1)
    assert clinnlp("export", ner_run / "model", *words, "--out", tmp_path / "run") == 7
    told = capsys.readouterr()
    assert (
        "engine openvino-bf16: not exported: 0.00 points of F1 against gold are lost, at most -1.00 may be" in told.err
    )
    assert [line.split()[0] for line in told.out.splitlines()][:4] == ["label", "DRUG", "PROBLEM", "all"]
    assert not (tmp_path / "run" / "model").exists()
    assert read_json(tmp_path / "run" / "manifest.json")["status"] == "failed"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "agreement.json",
        "manifest.json",
        "settings.yaml",
    ]


def test_spans_that_differ_are_refused(
    ner_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.engines import openvino

    real = openvino.Openvino.open

    def other(self: Any, folder: Path) -> Any:
        run = real(self, folder)
        return lambda rows, budget: [answer[::-1] for answer in run(rows, budget)]

    monkeypatch.setattr(openvino.Openvino, "open", other)
    words = ("--engine", "openvino", "--data.dev", corpus / "dev.jsonl", "--out", tmp_path / "run")
    assert clinnlp("export", ner_run / "model", *words) == 7
    told = capsys.readouterr().err
    assert (
        "engine openvino-fp32: not exported: agreement with fp32 " in told and "at least 99.00 % is asked for" in told
    )
    assert "--bound.agreement" in told


def test_engines_without_a_graph_and_notes_without_a_path(
    ner_run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("export", ner_run / "model", "--out", tmp_path / "run")
    assert clinnlp(*given, "--engine", "packed-bf16", "--data.dev", corpus / "dev.jsonl") == 2
    assert "engine: the packed engine has no graph of its own to export" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert clinnlp(*given) == 2
    assert "data.dev: this setting is required. Next: give --data.dev PATH." in capsys.readouterr().err
    assert clinnlp(*given, "--engine", "onx-int8", "--data.dev", "x") == 2
    assert "Did you mean 'onnx-int8'?" in capsys.readouterr().err


def test_a_changed_file_is_refused(spoiled: Path) -> None:
    for name in ("openvino_model.bin", "tokenizer.json", "config.json"):
        kept = (spoiled / name).read_bytes()
        (spoiled / name).write_bytes(kept + b" ")
        with pytest.raises(IntegrityError, match=rf"{name} is missing, or not the file that was exported"):
            load_trained(spoiled)
        (spoiled / name).write_bytes(kept)
    (spoiled / "openvino_model.xml").unlink()
    with pytest.raises(IntegrityError, match=r"openvino_model\.xml is missing"):
        load_trained(spoiled)


def test_foreign_weights_and_paths_that_lead_elsewhere_are_refused(spoiled: Path) -> None:
    for name in ("pytorch_model.bin", "model.onnx", "weights.pt"):
        (spoiled / name).write_bytes(b"x")
        with pytest.raises(UnsafeError, match=rf"{name} is not one of the files that were exported"):
            load_trained(spoiled)
        (spoiled / name).unlink()
    card = read_json(spoiled / "clinnlp.json")
    card["files"]["../secret"] = "0" * 64
    (spoiled / "clinnlp.json").write_text(json.dumps(card))
    with pytest.raises(UnsafeError, match=r"clinnlp\.json names a file that is not in this folder"):
        load_trained(spoiled)


def test_a_graph_that_is_none_is_refused_without_quoting_it(spoiled: Path) -> None:
    card = read_json(spoiled / "clinnlp.json")
    (spoiled / "openvino_model.xml").write_text("Qvortrup")
    import hashlib

    card["files"]["openvino_model.xml"] = hashlib.sha256(b"Qvortrup").hexdigest()
    (spoiled / "clinnlp.json").write_text(json.dumps(card))
    with pytest.raises(IntegrityError, match=r"OpenVINO cannot open it \(RuntimeError\)") as told:
        load_trained(spoiled)
    assert "Qvortrup" not in str(told.value)


def test_an_onnx_file_cannot_read_another_file(tmp_path: Path) -> None:
    """Weights that lie in a file elsewhere are not followed: this pins what ONNX Runtime does."""
    import onnx
    from onnx import TensorProto, helper

    (tmp_path / "secret").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "model").mkdir()
    for place in ("../secret", str(tmp_path / "secret")):
        tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=place)
        output = helper.make_tensor_value_info("logits", 1, [4])
        graph = helper.make_graph([helper.make_node("Identity", ["w"], ["logits"])], "g", [], [output], [tensor])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / "model" / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(IntegrityError, match=r"ONNX Runtime cannot open it"):
            Onnx().open(tmp_path / "model")
    assert onnx.__name__ == "onnx"


def test_another_engine_than_the_exported_one(
    exported: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("evaluate", "--model", exported / "model", "--data.test", corpus / "test.jsonl", "--out", tmp_path / "out")
    assert clinnlp(*given, "--engine", "packed") == 2
    assert "the folder holds a graph of the openvino engine and no torch weights" in capsys.readouterr().err
    assert clinnlp(*given, "--engine", "openvino-int8") == 0
    assert package.load(exported / "model", engine="openvino-int8").labels == ("DRUG", "PROBLEM")


def test_label_keeps_the_engine_of_the_export(
    exported: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("label", "--workers", 0, "--model", exported / "model", "--notes", corpus / "test.jsonl")
    assert clinnlp(*given, "--engine", "packed", "--out", tmp_path / "out") == 2
    assert "the folder holds a graph of the openvino engine and no torch weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for words in ((), ("--engine", "auto"), ("--engine", "openvino-int8")):
        assert clinnlp(*given, *words, "--out", tmp_path / "out") == 0, "one run"
    found = read_json(tmp_path / "out" / "run.json")["fingerprint"]
    assert '"openvino", "precision": "int8"' in found["engine"] and "version.openvino" in found


def test_load_by_the_name_of_an_engine(ner_run: Path) -> None:
    texts = [note["text"] for note in notes(5, "x")]
    plain, packed = package.load(ner_run / "model"), package.load(ner_run / "model", engine="packed")
    assert packed.trained.runner is not None
    assert [d.spans for d in packed(texts)] and [[s.key for s in d.spans] for d in packed(texts)] == [
        [s.key for s in d.spans] for d in plain(texts)
    ]
    with pytest.raises(package.ClinnlpError, match="Did you mean 'packed-bf16'"):
        package.load(ner_run / "model", engine="packed-bf61")


def test_notes_that_were_trained_on_are_known_by_the_exported_model_too(exported: Path, ner_run: Path) -> None:
    """The hashes lie beside the model, never in it."""
    assert (exported / "trained_texts.json").read_bytes() == (ner_run / "trained_texts.json").read_bytes()
    assert not (exported / "model" / "trained_texts.json").exists()


def said(*spans: tuple[int, int, str], labels: tuple[str, ...] = ()) -> Document:
    return Document("1", "x" * 20, tuple(Span(*span) for span in spans), labels)


def test_agreement_by_hand() -> None:
    fp32 = [said((0, 2, "A"), (3, 5, "B")), said((1, 2, "A"))]
    engine = [said((0, 2, "A"), (3, 6, "B")), said((1, 2, "A"))]
    gold = [said((0, 2, "A"), (3, 5, "B")), said()]
    found = agreement(Ner(), fp32, engine, gold)
    counts = {label: (score.tp, score.fp, score.fn) for label, score in found.per_label.items()}
    assert counts == {"A": (2, 0, 0), "B": (0, 1, 1)}
    assert found.share == pytest.approx(2 / 3)
    assert found.gold == (pytest.approx(0.8), pytest.approx(0.4))
    assert found.lost_points == pytest.approx(40)
    assert found.table().splitlines() == [
        "label  fp32  engine  both  agreement",
        "A         2       2     2   100.00 %",
        "B         1       1     0     0.00 %",
        "all       3       3     2    66.67 %",
        "notes with equal spans: 1 of 2",
        "F1 against gold: fp32 80.00 %, engine 40.00 %: +40.00 points lost",
    ]
    assert not found.holds(Bound(0.6)) and found.holds(Bound(0.6, 41)) and not found.holds(Bound(0.7, 41))


def test_agreement_of_notes_and_of_nothing() -> None:
    fp32 = [said(labels=("a", "b")), said(labels=("a",))]
    engine = [said(labels=("b", "a")), said(labels=())]
    found = agreement(NoteClassification(), fp32, engine)
    assert (found.share, found.equal_notes, found.gold) == (0.5, 1, None)
    nothing = agreement(Ner(), [said()], [said()])
    assert nothing.share != nothing.share and not nothing.holds(Bound(0.0))
    assert nothing.as_dict()["agreement"] is None
    assert isinstance(nothing, Agreement)
