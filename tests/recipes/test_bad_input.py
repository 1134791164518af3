"""Bad input: one line that says what, where, what was kept and what to do next; no traceback, no note text."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import clinnlp
from tests.recipes.command import FAST
from tests.recipes.command import clinnlp as command

Tiny = Callable[[str], Path]
CANARY = "Qvortrup"
NOTHING = "Kept: nothing was written."


def line(
    text: str = f"{CANARY} has fever", spans: tuple[tuple[int, int, str], ...] = ((13, 18, "X"),), id: str = "1"
) -> str:
    held = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return json.dumps({"id": id, "text": text, "spans": held}, ensure_ascii=True) + "\n"


GOOD = line()
SURFACE = json.dumps({"id": "1", "text": CANARY, "spans": [{"start": 0, "end": 3, "label": "X", "text": "Rvo"}]}) + "\n"


@dataclass(frozen=True)
class Case:
    """Files, a command on them ({t} is their folder, {base} a base model), and what it says."""

    words: str
    told: str
    files: dict[str, bytes]
    status: int = 2


def finetune(files: dict[str, bytes], told: str, words: str = "--data.train {t}/n.jsonl", status: int = 2) -> Case:
    return Case("finetune --base {base} --out {t}/out " + words, told, files, status)


def jsonl(text: str | bytes, told: str) -> Case:
    """A training file whose second line is bad."""
    raw = text if isinstance(text, bytes) else text.encode()
    refused = (
        f"error[CLN-D2] n.jsonl line 2: {told}. {NOTHING} Next: correct the record, or set bad_records to quarantine."
    )
    return finetune({"n.jsonl": GOOD.encode() + raw}, refused)


REFUSED = {
    "missing file": finetune(
        {}, f"error[CLN-C2] {{t}}/n.jsonl: no such file. {NOTHING} Next: check the path and the format."
    ),
    "missing file of a label run": Case(
        "label --model {base} --notes {t}/n.jsonl --out {t}/out",
        f"error[CLN-C2] {{t}}/n.jsonl: no such file. {NOTHING} Next: check the path and the format.",
        {},
    ),
    "folder without notes": finetune(
        {"n.txt": b"x"},
        f"error[CLN-C2] {{t}}: holds no .jsonl or .ndjson file. {NOTHING} Next: check the path and the format.",
        "--data.train {t}",
    ),
    "empty file": finetune(
        {"n.jsonl": b""}, f"error[CLN-D2] {{t}}/n.jsonl: no documents. {NOTHING} Next: check the path and the format."
    ),
    "empty file to pretrain on": Case(
        "pretrain --base {base} --data.train {t}/n.jsonl --out {t}/out",
        f"error[CLN-D2] {{t}}/n.jsonl: no documents with text. {NOTHING} Next: check the path and the format.",
        {"n.jsonl": b""},
    ),
    "unknown key": finetune(
        {"n.jsonl": GOOD.encode()},
        "error[CLN-C2] fit.epoch: unknown key. Next: Did you mean 'epochs'?",
        "--data.train {t}/n.jsonl --fit.epoch 3",
    ),
    "wrong type": finetune(
        {"n.jsonl": GOOD.encode()},
        "error[CLN-C2] fit.batch: should be a valid integer, unable to parse string as an integer, got str.",
        "--data.train {t}/n.jsonl --fit.batch many",
    ),
    "unknown label in dev": finetune(
        {"n.jsonl": GOOD.encode(), "d.jsonl": line(f"no {CANARY}", ((0, 2, "Y"), (0, 1, "X"))).encode()},
        f"error[CLN-D2] data.dev: labels that the training data lacks: 'Y' (1); it has X. {NOTHING} "
        "Next: correct them, give their other names (--data.label_map.X Y), or --data.unknown_labels miss to score "
        "them as missed.",
        "--data.train {t}/n.jsonl --data.dev {t}/d.jsonl",
    ),
    "unknown label in test": Case(
        "evaluate --model {model} --data.test {t}/n.jsonl --out {t}/out",
        f"error[CLN-D2] data.test: labels that the training data lacks: 'X' (1); it has DRUG, PROBLEM. {NOTHING} "
        "Next: correct them, give their other names (--data.label_map.X Y), or --data.unknown_labels miss to score "
        "them as missed.",
        {"n.jsonl": GOOD.encode()},
    ),
    "offsets outside the text": jsonl(line(CANARY, ((3, 9, "X"),)), "span 1 ends outside the text of 8 characters"),
    "surface differs": jsonl(SURFACE, "the text of span 1 is not what stands at its offsets"),
    "surface differs in brat": finetune(
        {"n.txt": CANARY.encode(), "n.ann": f"T1\tX 0 7\t{CANARY}\n".encode()},
        f"error[CLN-D2] n.ann line 1: the surface is not what stands at the offsets: check the line ends of the text, "
        f"or set mismatches to 'count' to keep the offsets as they are. {NOTHING} "
        "Next: correct the record, or set bad_records to quarantine.",
        "--data.train {t}/n.txt --data.format brat",
    ),
    "too few CoNLL columns": finetune(
        {"n.conll": f"a\tO\n{CANARY}\n".encode()},
        "error[CLN-D2] n.conll line 2: 1 columns are too few: a token and a tag are needed; its sentence is set aside. "
        f"{NOTHING} Next: correct the record, or set bad_records to quarantine.",
        "--data.train {t}/n.conll --data.format conll",
    ),
    "invalid UTF-8": jsonl(
        f'{{"text": "{CANARY} \xe9"}}'.encode("latin-1"),
        f"not valid UTF-8 at byte {len(GOOD) + 19}: if the file is cp1252 or latin-1, convert it to UTF-8",
    ),
    "lone surrogate": jsonl(line(f"{CANARY} \ud800", ()), "holds a lone surrogate, which is not valid Unicode"),
    "duplicate ids": finetune(
        {"n.jsonl": (GOOD + line(f"{CANARY} again", ())).encode()},
        f"error[CLN-D2] {{t}}/n.jsonl: 1 document ids occur more than once. {NOTHING} Next: make the ids unique.",
    ),
    "no labels at all": finetune(
        {"n.jsonl": line(spans=()).encode()},
        f"error[CLN-D2] data.train: the training data holds no labels for ner: 1 notes with 0 spans "
        f"and 0 note labels. {NOTHING} Next: check the path, the format, its fields and --task: "
        "note_classification learns note labels.",
    ),
    "only blank notes to train on": finetune(
        {"n.jsonl": (line(" ", ((0, 1, "X"),)) + line("\n", (), "2")).encode()},
        f"error[CLN-D2] data.train: none of the 2 notes holds a token to learn from. {NOTHING} "
        "Next: check the path, the format and the text field.",
    ),
    "no such base": finetune(
        {"n.jsonl": GOOD.encode()},
        f"error[CLN-C2] ./nowhere: no such model folder. {NOTHING} Next: check the path given as base.",
        "--data.train {t}/n.jsonl --base ./nowhere",
    ),
    "a base on the hub": finetune(
        {"n.jsonl": GOOD.encode()},
        f"error[CLN-C2] base 'some/model' is a hub name and clinnlp works offline. {NOTHING} "
        "Next: give --base DIR with a local copy, or --download true.",
        "--data.train {t}/n.jsonl --base some/model",
    ),
    "output folder holds a run": finetune(
        {"n.jsonl": GOOD.encode(), "out/manifest.json": b"{}"},
        "error[CLN-O5] {t}/out: the output folder already holds a run. Kept: everything in it. "
        "Next: choose a new --out, or remove the folder.",
        status=5,
    ),
    "output folder holds other files": finetune(
        {"n.jsonl": GOOD.encode(), "out/thesis.doc": b"x"},
        "error[CLN-O5] {t}/out: the output folder already holds files that are not of clinnlp. "
        "Kept: everything in it. Next: choose a new --out, or remove the folder.",
        status=5,
    ),
    "model folder without label map": Case(
        "label --model {base} --notes {t}/n.jsonl --out {t}/out",
        "error[CLN-C2] {base}: no clinnlp.json: this folder holds no label map, so its outputs have no meaning. "
        f"{NOTHING} Next: give the model/ folder of a `clinnlp finetune` run.",
        {"n.jsonl": GOOD.encode()},
    ),
    "no such model": Case(
        "evaluate --model {t}/nowhere --data.test {t}/n.jsonl --out {t}/out",
        f"error[CLN-C2] {{t}}/nowhere: no such model folder. {NOTHING} Next: check --model.",
        {"n.jsonl": GOOD.encode()},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tiny: Tiny, ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = REFUSED[name]
    for path, raw in case.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(raw)
    places = {"t": tmp_path, "base": tiny("bert"), "model": ner_run / "model"}
    capsys.readouterr()
    assert command(*[word.format(**places) for word in case.words.split()]) == case.status
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "clinnlp: " + case.told.format(**places)
    assert "Traceback" not in told.err
    assert CANARY not in told.out + told.err
    kept = {f"{tmp_path}/{path}" for path in case.files}
    assert {str(path) for path in tmp_path.rglob("*") if path.is_file()} == kept, "nothing was written"


def test_an_adapter_for_another_base(
    tiny: Tiny, ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "n.jsonl").write_text(GOOD)
    words = ("--notes", tmp_path / "n.jsonl", "--base", tiny("electra"), "--out", tmp_path / "out")
    assert command("label", "--model", ner_run / "model", *words) == 4
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"clinnlp: error[CLN-R4] {tiny('electra')}: the adapter expects base weights sha256 ")
    assert said.endswith(f", this base has {said.split('has ')[1][:12]}. {NOTHING} "
                         "Next: give --base with the folder it was trained on.")  # fmt: skip


def test_a_run_is_never_written_over(ner_run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in ner_run.rglob("*")}
    words = ("--model", ner_run / "model", "--data.test", corpus / "test.jsonl", "--out", ner_run)
    assert command("evaluate", *words) == 5
    assert "already holds a run. Kept: everything in it." in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in ner_run.rglob("*")} == before


def test_a_corrected_command_may_use_the_same_folder(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("--model", ner_run / "model", "--out", tmp_path / "out", "--data.test")
    assert command("evaluate", *words, tmp_path / "tset.jsonl") == 2
    assert command("evaluate", *words, corpus / "test.jsonl") == 0


def test_weights_that_could_run_code_are_refused(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny("bert"), base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    (tmp_path / "n.jsonl").write_text(GOOD)
    words = ("--base", base, "--data.train", tmp_path / "n.jsonl", "--out", tmp_path / "out")
    assert command("finetune", *words) == 8
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"clinnlp: error[CLN-X8] {base}: pytorch_model.bin can run code when opened, and there are no safetensors "
        f"weights. {NOTHING} Next: convert it to safetensors on a machine that holds no patient data."
    )


# --- input that looks bad and is read

ODD = {
    "BOM": ("\ufeff", "fever"),
    "CRLF": ("", "fever\r\nand cough\r\n"),
    "one character": ("", "x"),
    "only whitespace": ("", " \t\r\n "),
    "NUL": ("", "fever \x00 and \x00 cough"),
    "special tokens": ("", "[MASK] fever [SEP] [CLS] [PAD] [UNK]"),
    "1 MB on one line": ("", "fever " * 175_000),
}


@pytest.mark.parametrize("name", ODD)
def test_read_and_labeled_whole(name: str, ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark, text = ODD[name]
    path = tmp_path / "n.jsonl"
    path.write_bytes(mark.encode() + (line(text, ()) + line("aspirin", (), "2")).encode())
    assert [d.text for d in clinnlp.read(path, "jsonl")] == [text, "aspirin"]
    out = tmp_path / "out"
    assert command("label", "--workers", 0, "--model", ner_run / "model", "--notes", path, "--out", out) == 0
    spans, documents = clinnlp.read_labels(out)
    assert documents.document_id.tolist() == ["1", "2"]
    assert documents.characters_read.tolist() == [len(text), 7]
    assert documents.status.tolist() == ["empty" if not text.strip() else "labeled", "labeled"]
    length = {"1": len(text), "2": 7}
    assert all(row.end <= length[row.document_id] for row in spans.itertuples())


@pytest.mark.parametrize("name", [name for name in ODD if name != "1 MB on one line"])
def test_trained_on(name: str, tiny: Tiny, tmp_path: Path) -> None:
    mark, text = ODD[name]
    path = tmp_path / "n.jsonl"
    path.write_bytes(mark.encode() + (line(text, ()) + line("aspirin", ((0, 7, "DRUG"),), "2")).encode())
    words = ("--data.train", path, "--fit.max_steps", 1, *FAST, "--out", tmp_path / "out")
    assert command("finetune", "--base", tiny("bert"), *words) == 0


def test_a_bad_record_may_be_set_aside(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "n.jsonl"
    path.write_text(GOOD + f'{{"text": "{CANARY}\n' + line(f"fever {CANARY}", ((0, 5, "X"),), "2"))
    words = ("--data.train", path, "--data.bad_records", "quarantine", "--fit.max_steps", 1, *FAST)
    assert command("finetune", "--base", tiny("bert"), *words, "--out", tmp_path / "out") == 3
    told = capsys.readouterr().err
    assert "warning: set aside: n.jsonl line 2: not valid JSON" in told
    assert "warning: 1 records were set aside" in told
    aside = (tmp_path / "out" / "quarantine.jsonl").read_text()
    assert json.loads(aside)["where"] == "n.jsonl line 2"
    assert CANARY not in told + aside


@pytest.mark.parametrize(
    ("words", "reason"),
    [((), "holds a lone surrogate, which is not valid Unicode"), (("--max_characters", 4), "longer than 4 characters")],
)
def test_label_sets_aside_what_it_cannot_read(
    words: tuple[object, ...], reason: str, ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n.jsonl"
    bad = line(f"{CANARY} \ud800", ()) if not words else line(CANARY, ())
    path.write_text(bad + line("flu", (), "2"))
    out = tmp_path / "out"
    words = ("--workers", 0, *words)
    assert command("label", "--model", ner_run / "model", "--notes", path, *words, "--out", out) == 3
    told = capsys.readouterr()
    assert json.loads((out / "counts.json").read_text())["quarantine_reasons"] == {reason: 1}
    assert clinnlp.read_labels(out).documents.status.tolist() == ["quarantined", "labeled"]
    (aside,) = (out / "quarantine").iterdir()
    assert CANARY not in told.out + told.err + aside.read_text()
