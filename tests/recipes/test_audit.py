"""`clinnlp audit`: what it finds, what it tells, and what it never tells."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._data import data_sha256
from tests.recipes.command import clinnlp, notes, read_json, write_jsonl

CANARY = "Qvortrup"
LONG = " ".join(f"{CANARY} copied{number} forward{number}." for number in range(20))


def audited(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(out / "metrics.json")["audit"]
    return found


@pytest.fixture
def leaky(tmp_path: Path) -> list[object]:
    """Train, dev and test notes with one fault of each kind; the words of the command that reads them."""
    train = notes(40, "train")
    train[0] |= {"text": LONG, "spans": [], "group": f"{CANARY}-1"}
    train[1] |= {"id": train[2]["id"], "text": f"[**{CANARY}**] MRN: 1234567"}
    train[1]["spans"] = [{"start": 0, "end": 3, "label": CANARY}]
    dev = [*notes(9, "dev"), {"id": CANARY, "text": f"{LONG} once more", "labels": ["new"], "group": f"{CANARY}-1"}]
    test = [*notes(9, "test"), {"id": f"{CANARY}-2", "text": LONG.upper(), "group": "other"}]
    words: list[object] = []
    for name, held in (("train", train), ("dev", dev), ("test", test)):
        words += [f"--data.{name}", write_jsonl(tmp_path / f"{name}.jsonl", held)]
    return words


def test_every_fault_is_found(leaky: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clinnlp("audit", *leaky, "--out", tmp_path / "out") == 0, "audit reports; finetune refuses"
    found = audited(tmp_path / "out")
    leaks = [(leak["kind"], leak["first"], leak["second"], leak["notes"]) for leak in found["leaks"]]
    assert ("groups", "train", "dev", 1) in leaks and ("duplicates", "train", "test", 1) in leaks
    assert {kind for kind, *_ in leaks} == {"groups", "duplicates", "short texts"}
    assert found["duplicates"]["near"]["across"]["train/dev"]["notes of dev"] == 1
    assert found["splits"]["train"]["repeated ids"] == 1
    assert found["identified"]["train"]["medical record number"] == {"notes": 1, "matches": 1}
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out
    for line in (
        "- LEAK: groups (patients) in both train and dev: 1\n",
        "- LEAK: notes of test with a text of 200 or more characters that train holds too: 1\n",
        "- notes of dev with a near-duplicate in train: 1\n",
        "- text that looks credentialed ([**...**] placeholder, as in MIMIC-III): check what",
        "- text that looks identified: medical record number\n",
        "- note labels of dev that train lacks: new\n",
        "- train: 1 note with the id of another, which training refuses\n",
    ):
        assert line in report
    assert read_json(tmp_path / "out" / "manifest.json")["status"] == "done"


def test_no_text_id_or_group_is_told(leaky: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clinnlp("audit", *leaky, "--out", tmp_path / "out") == 0
    told = "".join(capsys.readouterr())
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    shown = [files.pop(name).count(CANARY) for name in ("metrics.json", "report.txt", "report.html")]
    assert [*shown, told.count(CANARY)] == [1, 1, 1, 1], "only as the name of a label"
    assert not any(CANARY in text for text in files.values())


def test_suspects_are_places_in_a_private_file(tmp_path: Path) -> None:
    held = notes(300, "train")
    drug = held[7]["spans"][0]
    drug["label"] = "PROBLEM"
    path = write_jsonl(tmp_path / "n.jsonl", [{"text": None}, *held])
    assert clinnlp("audit", "--data.train", path, "--data.test_share", 0.3, "--out", tmp_path / "out") == 3
    found = audited(tmp_path / "out")
    assert found["noise"]["notes read"] == 300 and found["noise"]["spans"]["suspects"] >= 1
    file = tmp_path / "out" / "suspects.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = json.loads(file.read_text().splitlines()[0])
    assert first.pop("margin") > 0.5
    # the ninth record of the train file, whichever split the note fell into
    place = {"file": "train", "document": 9, "start": drug["start"], "end": drug["end"]}
    assert first == {**place, "given": "PROBLEM", "predicted": "DRUG"}
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "Suspicious span labels" in report and "Places: suspects.jsonl" in report
    assert "- 1 record that cannot be read: see quarantine.jsonl" in report
    assert len((tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()) == found["quarantined"] == 1


def test_clean_notes_give_a_clean_report(tmp_path: Path) -> None:
    held = [{"text": f"Note {n} on nothing much, number {n}.", "group": f"p{n}"} for n in range(30)]
    for name, some in (("train", held[:20]), ("test", held[20:])):
        write_jsonl(tmp_path / f"{name}.jsonl", some)
    words = ("--data.train", tmp_path / "train.jsonl", "--data.test", tmp_path / "test.jsonl")
    assert clinnlp("audit", *words, "--out", tmp_path / "out") == 0
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert report.startswith("Found:\n- nothing of what the audit looks for\n\nNotes\n")
    found = audited(tmp_path / "out")
    assert (found["leaks"], found["giveaways"], found["noise"]) == ([], [], {"notes read": 30})
    assert (found["pretraining"], found["windows"]) == (None, None)
    assert not (tmp_path / "out" / "suspects.jsonl").exists()


def test_pretraining_and_windows(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    test = corpus / "test.jsonl"
    (tmp_path / "notes.csv").write_text("body\n" + "".join(f'"{note["text"]}"\n' for note in notes(12, "test")[:4]))
    words = ("--data.train", corpus / "train.jsonl", "--data.test", test, "--base", tiny("bert"), "--window", 12)
    other = ("--pretraining", tmp_path / "notes.csv", "--pretraining_format", "{name: csv, text_field: body}")
    assert clinnlp("audit", *words, *other, "--out", tmp_path / "out") == 0
    found = audited(tmp_path / "out")
    assert found["pretraining"]["notes"] == 4
    assert found["pretraining"]["splits"]["test"]["exact"] >= 4
    windows = found["windows"]
    assert windows["test"]["spans"] == windows["test"]["alignment"]["DRUG"]["total"] * 2 == 24
    assert windows["test"]["tokens per note"]["sum"] == windows["test"]["tokens"]
    assert windows["test"]["notes beyond"] > 0 and windows["train"]["window"] == 12
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "Tokens against one window of 12" in report
    assert "What the 4 notes of the pretraining corpus hold of" in report
    hashes = read_json(tmp_path / "out" / "manifest.json")["data_sha256"]
    assert hashes.keys() == {"train", "test", "pretraining"}


def test_a_word_that_decides_a_label_is_named_by_its_kind(tmp_path: Path) -> None:
    held = [
        {"text": f"{CANARY if n % 2 else 'Nothing'} at visit {n}", "labels": ["sick"] if n % 2 else []}
        for n in range(60)
    ]
    assert clinnlp("audit", "--data.train", write_jsonl(tmp_path / "n.jsonl", held), "--out", tmp_path / "out") == 0
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "- label 'sick': a word in the text decides it (AUROC 1.000; 1 such word)\n" in report
    assert CANARY not in report


def test_the_draw_keeps_groups_together_and_can_be_nothing(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "n.jsonl", notes(60, "n"))
    for limit in (0, 20):
        out = tmp_path / f"out-{limit}"
        assert clinnlp("audit", "--data.train", path, "--noise_notes", limit, "--out", out) == 0
        assert audited(out)["noise"]["notes read"] == limit


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "error[CLN-C2] data: notes are required. Next: give --data.train, --data.dev or --data.test PATH."),
        ("--data.dev_share 0.1 --data.dev {t}/n.jsonl", "error[CLN-C2] data: shares are of data.train. Next: give"),
        ("--data.train {t}/none.jsonl", "none.jsonl: no such file. Kept: nothing was written. Next: check the path"),
        ("--data.train {t}/n.jsonl", "error[CLN-D2] {t}/n.jsonl: no documents. Kept: nothing was written. Next: check"),
        (
            "--data.train {t}/bad.jsonl",
            "error[CLN-D2] {t}/bad.jsonl: no documents are left: 1 records were set aside, the first at bad.jsonl",
        ),
        (
            "--data.train {t}/good.jsonl --data.label_map.SICK ILL",
            "error[CLN-C2] data.label_map.SICK: no note that is read holds this label.",
        ),
    ],
)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("n", ""), ("bad", "{"), ("good", '{"id": "1", "text": "fever"}')):
        (tmp_path / f"{name}.jsonl").write_text(text)
    given = words.format(t=tmp_path).split()
    assert clinnlp("audit", *given, "--out", tmp_path / "out") == 2
    assert told.format(t=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_mtsamples(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "mtsamples" / "mtsamples.jsonl"
    if not path.exists():
        pytest.skip("mtsamples is not in the shared folder")
    words = (
        "--data.id_field",
        "note_id",
        "--data.text_field",
        "transcription",
        "--data.labels_field",
        "medical_specialty",
    )
    assert clinnlp("audit", "--data.train", path, *words, "--noise_notes", 0, "--out", tmp_path / "out") == 3
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "- copies of 2,148 of 2,357 distinct texts differ in their labels (4,755 notes)\n" in report
    assert "- 33 records that cannot be read: see quarantine.jsonl\n" in report


def test_an_audit_that_was_cut_off_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_jsonl(tmp_path / "n.jsonl", [*notes(9, "train"), {"id": "bad"}]), tmp_path / "out"
    words = ("audit", "--data.train", path, "--out", out)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("clinnlp.recipes.audit.audit_report", full)
        assert clinnlp(*words) == 6
    told = capsys.readouterr().err
    assert f"Kept: {out}, marked as failed" in told
    assert clinnlp(*words, "--seed", 99) == 4, "another audit"
    write_jsonl(path, [*notes(10, "train"), {"id": "bad"}])
    assert clinnlp(*words) == 3
    manifest = read_json(out / "manifest.json")
    assert (manifest["status"], manifest["data_sha256"]["train"]) == ("done", data_sha256(str(path), Jsonl()))
    assert clinnlp(*words) == 5, "it is done"


def test_late_notes_and_another_language_are_found_and_the_page_shows_them(tmp_path: Path) -> None:
    english = "the patient was seen for pain in the chest and was given aspirin at visit"
    german = "die Patientin klagte seit gestern ueber Schmerzen und bekam bei der Aufnahme sofort Medikamente"
    train = [
        {
            "id": str(n),
            "text": f"{english} {'abcdefgh'[n % 8] * 3}",
            "meta": {"at": "2180-01-02", "asked": "2180-01-01"},
        }
        for n in range(16)
    ]
    train[0]["meta"] = {"at": "2179-12-31T10:00", "asked": "2180-01-01"}
    train[1]["meta"] = {}
    test = [
        train[9] | {"id": "t0", "text": f"{english} xyz"},
        *({"id": f"g{n}", "text": f"{german} {n}"} for n in range(3)),
    ]
    words: list[object] = ["--note_time", "at", "--prediction_time", "asked"]
    for name, held in (("train", train), ("test", test)):
        words += [f"--data.{name}", write_jsonl(tmp_path / f"{name}.jsonl", held)]
    assert clinnlp("audit", *words, "--out", tmp_path / "out") == 0
    assert audited(tmp_path / "out")["times"]["train"] == {"notes": 16, "late": 14, "unknown": 1}
    report = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for line in (
        "notes of train written after the time of prediction: 14 of 16",
        "notes of train without two times that can be compared: 1 of 16",
        "notes of test written after the time of prediction: 1 of 4",
        "notes of test that share few words with train (another language, or another kind of text): 3 of 4",
    ):
        assert f"- {line}\n" in report and f"<li>{line}.</li>" in page
    none = "none of the patterns matched; names and addresses are not looked for"
    assert f"(notes)\n{none}\n" in report and f"<li>{none}.</li>" in page
    assert "Repeated texts" in page and "<script" not in page and "Patientin" not in page + report
