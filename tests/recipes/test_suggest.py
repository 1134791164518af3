"""Notes suggested for annotation: which, why, in which format, and what the report says of it."""

import csv
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core import run as run_module
from clinnlp.formats.base import read
from clinnlp.formats.brat import Brat
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes import _reading
from tests.recipes.command import clinnlp, notes, read_json, write_jsonl

THEMES = {
    "heart": "chest pain at rest with palpitations murmur atrial fibrillation echocardiogram ordered today",
    "lung": "productive cough wheezing asthma inhaler spirometry oxygen saturation pneumonia suspected again",
    "bone": "wrist fracture after fall cast applied orthopedic clinic radiograph aligned well healing",
}


def themed(name: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Notes of a few themes; each has words of its own, so that none is a near-duplicate of another."""
    made = []
    for theme, count in counts.items():
        words = THEMES[theme].split()
        for n in range(count):
            text = " ".join(f"{word} {theme}{n}x{place}" for place, word in enumerate(words))
            made.append({"id": f"{theme}-{name}-{n}", "text": text, "group": f"{theme}-{n % 2}"})
    return made


def suggest(tmp_path: Path, *words: object, records: list[dict[str, Any]] | None = None) -> tuple[list[str], Any]:
    """The ids that are suggested, in order, and metrics.json."""
    given = write_jsonl(tmp_path / "notes.jsonl", records or themed("new", {"heart": 8, "lung": 5, "bone": 3}))
    out = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
    assert clinnlp("suggest", "--notes", given, "--out", out, *words) == 0
    with (out / "order.csv").open(encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    return ids, read_json(out / "metrics.json")


def test_the_first_notes_are_of_different_kinds_and_not_of_the_labeled_kind(tmp_path: Path) -> None:
    ids, values = suggest(tmp_path, "--count", 3)
    assert {id.split("-")[0] for id in ids} == set(THEMES)
    assert ids[0].startswith("heart"), "the largest kind first"
    covered = values["coverage"]
    assert covered["by labeled notes"] == 0 < covered["with suggested notes"]
    assert covered["with as many drawn at random (mean of 20)"] < covered["with suggested notes"]
    labeled = write_jsonl(tmp_path / "labeled.jsonl", themed("old", {"heart": 9, "lung": 9}))
    assert suggest(tmp_path, "--count", 1, "--labeled", labeled)[0][0].startswith("bone")
    again, _ = suggest(tmp_path, "--count", 3)
    assert again == ids


def test_copies_empty_notes_and_notes_of_held_out_patients_are_not_suggested(tmp_path: Path) -> None:
    records = themed("new", {"heart": 4, "lung": 2, "bone": 2})
    copies = [record | {"id": f"copy-{n}", "group": f"copy-{n}"} for n, record in enumerate(records[:3])]
    held_out = write_jsonl(tmp_path / "test.jsonl", [{"id": "t", "text": "other words", "group": "lung-0"}])
    labeled = write_jsonl(tmp_path / "labeled.jsonl", [records[0] | {"id": "old"}])
    everything = [*records, *copies, {"id": "blank", "text": " \n"}]
    words = ("--held_out", held_out, "--labeled", labeled, "--count", 50)
    ids, values = suggest(tmp_path, *words, records=everything)
    assert values["notes"]["closed"] == {
        "empty": 1,
        "near-duplicates of labeled or held-out notes": 2,
        "of held-out patients": 1,
    }
    assert sorted(ids) == ["bone-new-0", "bone-new-1", "heart-new-1", "heart-new-2", "heart-new-3", "lung-new-1"]
    assert "Only 6 of 50 notes could be suggested" in values["notices"][0]


def test_equal_notes_without_words_are_the_same_note(tmp_path: Path) -> None:
    marks = [{"id": name, "text": text} for name, text in (("a", "..."), ("b", "--"), ("c", " -- "), ("d", "?"))]
    labeled = write_jsonl(tmp_path / "labeled.jsonl", [{"id": "old", "text": "...\n"}])
    held_out = write_jsonl(tmp_path / "test.jsonl", [{"id": "t", "text": "?"}])
    words = ("--labeled", labeled, "--held_out", held_out, "--count", 50)
    ids, values = suggest(tmp_path, *words, records=[*themed("new", {"heart": 2}), *marks])
    assert sorted(ids) == ["b", "heart-new-0", "heart-new-1"], "b and c are one, the others are labeled or held out"
    assert values["notes"]["closed"]["near-duplicates of labeled or held-out notes"] == 2


def test_a_group_has_its_limit(tmp_path: Path) -> None:
    ids, values = suggest(tmp_path, "--count", 50, "--per_group", 1)
    assert len(ids) == 6 == values["suggested"]["groups"]
    assert values["suggested"]["most_of_a_group"] == 1


def test_nothing_to_suggest_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write_jsonl(tmp_path / "notes.jsonl", themed("new", {"heart": 2}))
    assert clinnlp("suggest", "--notes", given, "--labeled", given, "--out", tmp_path / "run") == 2
    assert "none of the 2 notes may be suggested" in (said := capsys.readouterr().err)
    assert "near-duplicates of labeled or held-out notes: 2" in said
    for words, told in (
        (("--switch", 0.5), "there is no model to ask"),
        (("--preannotate", "true"), "there is no model to ask"),
        (("--count", 0), "must be 1 or more"),
        (("--model", tmp_path / "none", "--switch", 1), "no such model folder"),
    ):
        assert clinnlp("suggest", "--notes", given, "--out", tmp_path / "other", *words) == 2
        assert told in capsys.readouterr().err


def test_records_that_were_all_set_aside_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"id": "1", "text": "fever", "spans": [{"start": 2, "end": 9, "label": "X"}]}
    given = write_jsonl(tmp_path / "bad.jsonl", [odd, odd | {"id": "2"}])
    words = ("--bad_records", "quarantine", "--out", tmp_path / "run")
    assert clinnlp("suggest", "--notes", given, *words) == 2
    told = (
        "bad.jsonl: no documents are left: 2 records were set aside, the first at bad.jsonl line 1: span 1 ends outside"
    )
    assert told in capsys.readouterr().err


def test_a_model_says_of_which_notes_it_is_unsure(tmp_path: Path, ner_run: Path) -> None:
    """Notes like those it was trained on, and notes of words that it never saw in such places."""
    odd = [
        {"id": f"odd-{n}", "text": f"aspirin {word} fever metformin {word} nausea cough {word}", "group": f"odd-{n}"}
        for n, word in enumerate(("dose zebra", "unit lamp", "scan quartz"))
    ]
    model = ("--model", ner_run / "model", "--count", 3)
    ids, values = suggest(tmp_path, *model, "--switch", 1, records=[*notes(20, "new"), *odd])
    assert values["suggested"]["by_reason"] == {"diverse": 0, "uncertain": 3}
    scores = [choice["score"] for choice in values["choices"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(id.startswith("odd") for id in ids) >= 2
    assert any("take longer to annotate" in notice for notice in values["notices"])
    _, values = suggest(tmp_path, *model, "--switch", 0.34, records=notes(60, "new"))
    assert [choice["reason"] for choice in values["choices"]] == ["diverse", "diverse", "uncertain"]
    labeled = write_jsonl(tmp_path / "old.jsonl", notes(4, "old"))
    words = (*model, "--labeled", labeled, "--similarity", 1)
    assert suggest(tmp_path, *words, records=notes(60, "new"))[1]["suggested"]["by_reason"]["uncertain"] == 0
    _, values = suggest(tmp_path, *words, "--switch_at", 4, "--vectors", "model", records=notes(60, "new"))
    assert values["suggested"]["by_reason"] == {"diverse": 2, "uncertain": 1}


def test_preannotated_notes_for_an_annotation_tool(tmp_path: Path, ner_run: Path) -> None:
    given = write_jsonl(tmp_path / "notes.jsonl", notes(30, "new"))
    words = ("--notes", given, "--model", ner_run / "model", "--count", 4, "--to", "brat")
    assert clinnlp("suggest", *words, "--preannotate", "true", "--out", tmp_path / "run") == 0
    listed = list(read(tmp_path / "run" / "worklist", Brat()))
    known = {note.id: note.text for note in read(given, Jsonl())}
    assert len(listed) == 4
    assert all(note.text == known[note.id] for note in listed)
    assert sum(len(note.spans) for note in listed) >= 4
    assert "leave more of it standing" in (tmp_path / "run" / "report.txt").read_text()
    assert clinnlp("suggest", *words, "--out", tmp_path / "plain") == 0
    assert not any(note.spans for note in read(tmp_path / "plain" / "worklist", Brat()))
    assert not (tmp_path / "run" / "preannotating").exists()


def test_note_classes_and_a_run_that_was_broken_off(
    tmp_path: Path, type_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_jsonl(tmp_path / "notes.jsonl", notes(30, "new"))
    words = ("suggest", "--notes", given, "--model", type_run / "model", "--count", 5, "--switch", 1)
    monkeypatch.setattr(_reading, "PART", 4)
    assert clinnlp(*words, "--out", tmp_path / "whole") == 0
    say, read_parts = _reading._say, []

    def dies(trained: Any, some: Any) -> Any:
        read_parts.append(len(some))
        if len(read_parts) == 2:
            raise KeyboardInterrupt
        return say(trained, some)

    with monkeypatch.context() as patched:
        patched.setattr(_reading, "_say", dies)
        assert clinnlp(*words, "--out", tmp_path / "broken") == 130
    assert len(list((tmp_path / "broken" / "reading").iterdir())) == 1
    monkeypatch.setattr(_reading, "_say", lambda trained, some: (read_parts.append(len(some)), say(trained, some))[1])
    assert clinnlp(*words, "--out", tmp_path / "broken") == 0
    whole, broken = (read_json(tmp_path / name / "metrics.json") for name in ("whole", "broken"))
    assert whole == broken
    assert run_module.is_done(tmp_path / "broken")
    assert sum(read_parts) - read_parts[1] == whole["notes"]["read_by_the_model"], "the first part was not read again"


def test_the_report_holds_no_text_and_the_worklist_says_why(tmp_path: Path) -> None:
    suggest(tmp_path, "--count", 2)
    out = next(path for path in tmp_path.iterdir() if path.is_dir())
    for name in ("report.txt", "report.html", "metrics.json", "manifest.json"):
        held = (out / name).read_text(encoding="utf-8")
        assert not any(word in held for text in THEMES.values() for word in text.split() if len(word) > 8)
        assert "heart-new" not in held
    first = next(read(out / "worklist.jsonl", Jsonl()))
    assert first.meta["suggested"]["rank"] == 1
    assert first.meta["suggested"]["reason"] == "diverse"
    assert first.meta["suggested"]["score"] > 0
