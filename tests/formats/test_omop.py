"""OMOP on SQLite and on a real PostgreSQL: each row once, limits counted, ids that fit, all of it streamed."""

import logging
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError, DataError, StorageError
from clinnlp.formats import _omop_read, _omop_write
from clinnlp.formats.base import contents, read, read_records, write
from clinnlp.formats.omop import Omop, validate

NEW = Omop(add_notes=True, date="2026-01-31T12:00:00")
LABELS = Omop(date="2026-01-31T12:00:00")
HOSTILE = "No \U0001f600 fever, caf\u00e9 e\u0301 \r\n 5mg =HYPERLINK(1) 'x\" \\ %s :a \t\\N " + "long " * 80 + "\u2028"
META = {"note_date": "2020-01-02", "note_type_concept_id": 44814637, "visit_occurrence_id": 5}


def note(id: str, text: str = "No fever since Monday.", *spans: Span, group: str | None = "7") -> Document:
    return Document(id, text, spans, (), group, META | {"note_class_concept_id": 0})


FEVER = note("12", "No fever since Monday.", Span(3, 8, "PROBLEM", 0.91), Span(15, 21, "TIME", 1.0, {"negated": True}))
NOTES = [
    note("-5", HOSTILE, *(Span(n, n + 7, f"L{n};=%\n", n / 100) for n in range(0, 60, 3)), Span(3, 303, "LONG")),
    note("7", "x", Span(0, 1, "=HYPERLINK(1)", None, {"term_exists": "N", "section_concept_id": 3, "k": ["\x00"]})),
    FEVER,
    note("13", "left and right arm", Span(0, 18, "SITE", None, {}, ((0, 4), (15, 18))), group=None),
    note("2147483647", ""),
]


def table(url: str, name: str = "note_nlp", order: str = "note_nlp_id") -> list[dict[str, Any]]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f'SELECT * FROM "{name}" ORDER BY {order}')).mappings()
        found = [dict(row) for row in rows]
    engine.dispose()
    return found


def execute(url: str, *statements: str, **values: object) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), values)
    engine.dispose()


def test_notes_and_spans_come_back(database: str) -> None:
    counts = write(NOTES, database, NEW)
    assert (counts["documents"], counts["notes_added"], counts["spans"]) == (5, 5, 25)
    assert counts["lexical_variants_shortened"] == 1
    assert list(read(database, "omop")) == NOTES
    assert [d.spans for d in read(database, Omop(read_spans=False))] == [()] * 5
    assert validate(database).counts == {"rows": 25, "exact": 24, "shortened": 1, "wrong": 0, "without_note": 0}


def test_writing_twice_leaves_each_row_once(database: str) -> None:
    write(NOTES, database, NEW)
    first = table(database)
    assert [row["note_nlp_id"] for row in first] == list(range(1, 26))
    write(NOTES, database, LABELS)
    assert table(database) == first
    write(reversed(NOTES), database, LABELS)
    assert table(database) == first


def test_rows_of_other_systems_and_other_notes_stay(database: str) -> None:
    write(NOTES, database, NEW)
    write([FEVER], database, Omop(system="other"))
    others = [row for row in table(database) if row["nlp_system"] == "other" or row["note_id"] != 12]
    shorter = note("12", FEVER.text, Span(9, 14, "TIME"))
    write([shorter], database, LABELS)
    assert [row for row in table(database) if row["nlp_system"] == "other" or row["note_id"] != 12] == others
    assert {d.id: d.spans for d in read(database, "omop")}["12"] == shorter.spans
    assert {d.id: d.spans for d in read(database, Omop(system="other"))}["12"] == FEVER.spans
    assert len({d.id: d.spans for d in read(database, Omop(system=""))}["12"]) == 3
    assert len({row["note_nlp_id"] for row in table(database)}) == len(table(database)) == 26


def test_more_spans_than_before_take_new_numbers(database: str) -> None:
    write([FEVER], database, NEW)
    more = note("12", FEVER.text, *(Span(n, n + 1, "L") for n in range(4)))
    write([note("3", "x", Span(0, 1, "L")), more], database, NEW)
    assert [(row["note_nlp_id"], row["note_id"]) for row in table(database)] == [
        (1, 12), (2, 12), (3, 3), (4, 12), (5, 12),
    ]  # fmt: skip
    assert {d.id: d.spans for d in read(database, "omop")}["12"] == more.spans


def test_a_stopped_run_that_is_done_again_ends_with_the_same_rows(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_omop_write, "WRITE_DOCUMENTS", 2)
    write(NOTES, database, NEW)
    whole = table(database)
    execute(database, "DELETE FROM note_nlp")

    def stops() -> Iterator[Document]:
        yield from NOTES[:3]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(stops(), database, LABELS)
    assert {row["note_id"] for row in table(database)} == {-5, 7}, "one batch is there, whole"
    write(NOTES, database, LABELS)
    assert table(database) == whole


def test_a_batch_that_the_database_refuses_leaves_the_old_rows(postgres: Callable[[], str]) -> None:
    url = postgres()
    write([FEVER], url, NEW)
    before = table(url)
    execute(url, "ALTER TABLE note_nlp ALTER COLUMN lexical_variant TYPE varchar(6)")
    with pytest.raises(StorageError) as caught:
        write([note("12", FEVER.text, Span(0, 8, "Qvortrup"))], url, LABELS)
    assert "the database refused: StringDataRightTruncation 22001." in str(caught.value)
    assert "Qvortrup" not in str(caught.value) and "fever" not in str(caught.value)
    assert table(url) == before


def test_writers_at_one_time_give_no_number_twice(database: str) -> None:
    """Where they cannot wait for each other, all but one are told to come back, and leave nothing."""
    texts = [note(str(n), "fever " * 3, *(Span(6 * k, 6 * k + 5, "L") for k in range(3))) for n in range(300)]
    write(texts, database, NEW)
    faults: list[BaseException] = []

    def label(system: str) -> None:
        try:
            for part in range(0, 300, 50):
                write(texts[part : part + 50], database, Omop(system=system))
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=label, args=(f"s{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = table(database)
    assert len(rows) == len({row["note_nlp_id"] for row in rows})
    if "duckdb" in database:
        assert all(isinstance(fault, StorageError) and "one writer at a time" in str(fault) for fault in faults)
        faults.clear()
        for n in range(4):
            label(f"s{n}")  # again, one after the other
        rows = table(database)
    assert faults == []
    assert len({row["note_nlp_id"] for row in rows}) == 5 * 900


def test_lengths_are_kept_to_and_counted_by_column(database: str) -> None:
    text = "\U0001f600" * 300 + " x"
    spans = (
        Span(0, 300, "L" * 1985, 0.5),
        Span(0, 251, "L"),
        Span(0, 250, "L"),
        Span(300, 302, "L", 0.1, {"k": "v" * 3000}),
    )
    counts = write([note("1", text, *spans)], database, NEW)
    assert (counts["lexical_variants_shortened"], counts["term_modifiers_shortened"]) == (2, 2)
    rows = table(database)
    assert [len(row["lexical_variant"]) for row in rows] == [250, 250, 250, 2]
    assert all(len(row["snippet"]) <= 250 and len(row["term_modifiers"]) <= 2000 for row in rows)
    assert [row["offset"] for row in rows] == ["0", "0", "0", "300"]
    (found,) = read(database, "omop")
    assert [span.key for span in found.spans] == [span.key for span in spans]
    assert validate(database).counts["shortened"] == 2


@pytest.mark.parametrize(
    "id", ["0012", "a1", "", "\u0661\u0662", "-0", "+1", " 1", "1.0", "1_0", "2147483648", "9" * 5000]
)
def test_ids_that_omop_cannot_hold_are_refused(id: str, sqlite_url: str) -> None:
    write([FEVER], sqlite_url, NEW)
    with pytest.raises(DataError) as caught:
        write([FEVER, note(id)], sqlite_url, NEW)
    told = "does not fit into 32 bits" if id == "2147483648" else "is no whole number (without leading zeros)"
    assert str(caught.value) == (
        f"{sqlite_url}: the id of document 2 {told}, as note_id of OMOP must. Kept: the documents before this batch. "
        "Next: number the notes and patients, and keep the old ids in a table of your own."
    )
    assert len(table(sqlite_url)) == 2


@pytest.mark.parametrize("add_notes", [False, True])
def test_a_note_with_another_text_keeps_its_rows(add_notes: bool, sqlite_url: str) -> None:
    write([FEVER], sqlite_url, NEW)
    held = table(sqlite_url)
    moved = note(FEVER.id, "\ufeff" + FEVER.text, *FEVER.spans)
    counts = write([moved], sqlite_url, Omop(add_notes=add_notes))
    assert (counts["documents"], counts["spans"], counts["notes_with_other_text"]) == (0, 0, 1)
    assert table(sqlite_url) == held


def test_a_new_file_is_whole_or_not_there(tmp_path: Path) -> None:
    for bad in (note("a1"), FEVER):
        with pytest.raises(DataError) as caught:
            write([FEVER, bad], tmp_path / "new.sqlite", "omop")
        assert caught.value.kept == "nothing was written"
        assert list(tmp_path.iterdir()) == []


def test_a_bigint_column_takes_larger_ids(postgres: Callable[[], str]) -> None:
    url = postgres()
    write([], url, NEW)
    execute(url, *(f"ALTER TABLE {name} ALTER COLUMN note_id TYPE bigint" for name in ("note", "note_nlp")))
    write([note("5000000000", FEVER.text, *FEVER.spans)], url, NEW)
    assert [(d.id, d.spans) for d in read(url, "omop")] == [("5000000000", FEVER.spans)]
    with pytest.raises(DataError, match="does not fit into 64 bits"):
        write([note("9223372036854775808")], url, NEW)


def test_numbers_of_rows_do_not_run_over(database: str) -> None:
    write([FEVER], database, NEW)
    execute(database, "UPDATE note_nlp SET note_nlp_id = 2147483646 WHERE note_nlp_id = 2")
    with pytest.raises(DataError, match="note_nlp_id would pass its largest number"):
        write([note("13", "aa", Span(0, 1, "L"), Span(1, 2, "L"))], database, NEW)
    assert len(table(database)) == 2


def test_a_note_that_comes_twice_and_a_patient_that_is_no_number_are_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_omop_write, "WRITE_DOCUMENTS", 2)
    with pytest.raises(DataError, match="document 4 has the id of one before it"):
        write([note("1"), note("2"), note("3"), note("1")], database, NEW)
    with pytest.raises(DataError, match="the group of a document is no whole number") as caught:
        write([note("9", group="Qvortrup")], database, NEW)
    assert "Qvortrup" not in str(caught.value)


def test_notes_that_the_database_lacks_are_counted(database: str) -> None:
    write([FEVER], database, NEW)
    counts = write([FEVER, note("13", "fever", Span(0, 5, "L"))], database, LABELS)
    assert (counts["documents"], counts["spans"], counts["notes_not_in_database"]) == (1, 2, 1)
    assert {row["note_id"] for row in table(database)} == {12}
    assert [d.id for d in read(database, "omop")] == ["12"]


def test_what_has_no_column_is_counted(database: str) -> None:
    meta = {"note_date": "yesterday", "ward": "B", "visit_detail_id": "7", "note_datetime": None}
    counts = write([Document("1", "x", (), ("acute", "old"), None, meta)], database, NEW)
    assert (counts["labels_not_representable"], counts["meta_not_representable"]) == (2, 3)
    (found,) = read(database, "omop")
    assert found.meta == {"note_date": "2026-01-31", "note_type_concept_id": 0, "note_class_concept_id": 0}
    assert found.group is None


def test_a_nul_is_kept_or_replaced_one_for_one(database: str) -> None:
    counts = write([note("1", "a\x00 fever\x00", Span(0, 2, "L\x00"), Span(3, 9, "L"))], database, NEW)
    (found,) = read(database, "omop")
    kept = "sqlite" in database
    assert found.text == ("a\x00 fever\x00" if kept else "a\ufffd fever\ufffd")
    assert [(span.start, span.end, span.label) for span in found.spans] == [(0, 2, "L\x00"), (3, 9, "L")]
    assert counts["nuls_replaced"] == (0 if kept else 8)
    assert validate(database).counts["exact"] == 2


def test_pages_begin_after_the_last_id(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_omop_read, "READ_ROWS", 7)
    made = [note(str(id), f"fever {id}", Span(0, 5, "L")) for id in range(-50, 400, 3)]
    write(reversed(made), database, NEW)
    caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    assert list(read(database, "omop")) == made
    asked = [record.getMessage() for record in caplog.records if record.getMessage().startswith("SELECT note.")]
    assert len(asked) == 22
    assert all("note.note_id > " in statement for statement in asked[1:])
    if "postgres" in database:  # for SQLite SQLAlchemy writes OFFSET 0
        assert not any("OFFSET" in statement for statement in asked)
    assert "fever" not in caplog.text, "parameters are hidden"


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_an_id_that_stands_twice_is_refused_wherever_the_page_ends(
    rows: int, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_omop_read, "READ_ROWS", rows)
    execute(sqlite_url, "CREATE TABLE note (note_id INTEGER, note_text TEXT)")
    execute(sqlite_url, "INSERT INTO note VALUES (1, 'a'), (2, 'b'), (3, 'c'), (3, 'd'), (4, 'e')")
    with pytest.raises(DataError, match="note_id is not unique: row 4 has that of the row before"):
        list(read(sqlite_url, "omop"))


def test_rows_that_cannot_be_read_are_set_aside(sqlite_url: str) -> None:
    execute(
        sqlite_url,
        "CREATE TABLE NOTE (NOTE_ID INTEGER, NOTE_TEXT TEXT)",
        'CREATE TABLE note_nlp (note_nlp_id INTEGER, note_id INTEGER, "offset" TEXT, lexical_variant TEXT)',
        "INSERT INTO note VALUES (1, 'fever'), (2, NULL), (NULL, 'x'), (3, CAST(x'61ff62' AS TEXT))",
        "INSERT INTO note VALUES (4, x'61'), (5, 'a')",
        "INSERT INTO note_nlp VALUES (17, 5, '0', 'Qvortrup'), (18, 1, '0', 'fever')",
    )
    found = list(read_records(sqlite_url, "omop"))
    assert [d.id for d in found if isinstance(d, Document)] == ["1"]
    assert [(q.where, q.reason) for q in found if isinstance(q, Quarantined)] == [
        ("note row 1 of those without an id", "note_id is null"),
        ("note row 2", "note_text is null, not a text"),
        ("note row 3", "note_text is not valid UTF-8 after 1 characters"),
        ("note row 4", "note_text is bytes, not a text"),
        ("note row 5", "row 17 of its NOTE_NLP: its offsets lie outside the note"),
    ]


def test_ids_that_are_texts_keep_their_zeros(sqlite_url: str) -> None:
    execute(
        sqlite_url,
        "CREATE TABLE note (note_id TEXT PRIMARY KEY, person_id TEXT, note_text TEXT)",
        "INSERT INTO note VALUES ('0012', '007', 'a'), ('12', '', 'b'), ('2', NULL, 'c')",
    )
    assert [(d.id, d.group) for d in read(sqlite_url, "omop")] == [("0012", "007"), ("12", None), ("2", None)]


def test_the_branch_of_2023(database: str) -> None:
    write([FEVER], database, NEW)
    execute(
        database,
        "DROP INDEX ix_note_nlp_note_id",  # DuckDB alters no table that has one
        "ALTER TABLE note_nlp ADD COLUMN offset_start INTEGER",
        "ALTER TABLE note_nlp ADD COLUMN offset_end INTEGER",
        'ALTER TABLE note_nlp DROP COLUMN "offset"',
    )
    write([FEVER], database, LABELS)
    assert [(row["offset_start"], row["offset_end"]) for row in table(database)] == [(3, 8), (15, 21)]
    assert list(read(database, "omop")) == [FEVER]
    assert validate(database).counts["exact"] == 2


NAMES = ["notes; DROP TABLE note_nlp; --", 'my "notes"', "it's", "select", "%s :x ?", "\U0001f600"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted_and_never_run(name: str, database: str) -> None:
    write([FEVER], database, NEW)
    with pytest.raises(ConfigError, match="there is no table"):
        list(read(database, Omop(table=name)))
    with pytest.raises(ConfigError, match="there is no table"):
        write([FEVER], database, Omop(nlp_table=name))
    odd = Omop(table=name, nlp_table=name + " nlp", add_notes=True)
    for _ in range(2):
        write([FEVER], database, odd)
    assert list(read(database, odd)) == [FEVER]
    assert validate(database, odd).counts["exact"] == 2
    assert len(table(database)) == 2
    system = "x'; DROP TABLE note_nlp; --"
    write([FEVER], database, Omop(system=system))
    assert len([row for row in table(database) if row["nlp_system"] == system]) == 2


def test_schemas(postgres: Callable[[], str]) -> None:
    in_schemas(postgres())


def test_schemas_of_duckdb(duckdb_url: str) -> None:
    in_schemas(duckdb_url)


def in_schemas(url: str) -> None:
    execute(url, "CREATE SCHEMA cdm", 'CREATE SCHEMA "My results"')
    options = Omop(schema="cdm", nlp_schema="My results", add_notes=True)
    for _ in range(2):
        write([FEVER], url, options)
    assert list(read(url, options)) == [FEVER]
    assert validate(url, options).counts["exact"] == 2
    with pytest.raises(ConfigError, match="there is no table 'note'"):
        list(read(url, "omop"))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("sqlite:///absent.db", "sqlite:///absent.db: no such file"),
        ("sqlite://", "sqlite://: SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("sqlite:///a.db", "sqlite:///a.db: there is no table 'note'"),
        ("postgresql+psycopg://me:Qvortrup@host/db", "postgresql+psycopg://host/db: a password in a URL is seen"),
        ("postgresql+psycopg://host/db?password=Qvortrup", "postgresql+psycopg://host/db: a password in a URL is seen"),
        ("duckdb:///absent.db", "duckdb:///absent.db: no such file. Next: check the path; duckdb:////a/b"),
        ("duckdb:///:memory:", "DuckDB needs a file"),
        ("nosuch://host/db", "no driver for nosuch"),
        ("sqlite+nosuch:///a.db", "no driver for sqlite+nosuch"),
        ("postgresql://host:port:x/db", "this is no URL of a database"),
    ],
)
def test_urls_that_cannot_be_used(url: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.db").touch()
    for use in (lambda: list(read(url, "omop")), lambda: write([FEVER], url, "omop"), lambda: validate(url)):
        with pytest.raises(ConfigError) as caught:
            use()
        assert what.replace("'note'", "'note_nlp'") in str(caught.value) or what in str(caught.value)
        assert "Qvortrup" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"], "nothing was made"


def test_a_server_that_is_not_there_and_a_file_that_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the database refused: OperationalError"):
        list(read(f"postgresql+psycopg:///cdm?host={tmp_path}", "omop"))
    (tmp_path / "a.db").write_bytes(b"Qvortrup has fever " * 100)
    (tmp_path / "a.duckdb").write_bytes(b"Qvortrup has fever " * 1000)
    for name, told in {"a.db": "DatabaseError SQLITE_NOTADB", "a.duckdb": "IOException. Next: look"}.items():
        with pytest.raises(StorageError, match=f"the database refused: {told}") as caught:
            list(read(tmp_path / name, "omop"))
        assert "Qvortrup" not in str(caught.value)


@pytest.mark.parametrize("name", ["new.sqlite", "new.db", "new.duckdb"])
def test_a_new_file_holds_notes_and_spans(name: str, tmp_path: Path) -> None:
    write(NOTES, tmp_path / name, Omop())
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert list(read(tmp_path / name, "omop")) == NOTES
    assert validate(str(tmp_path / name)).counts["rows"] == 25


def test_a_duckdb_file_that_another_program_has_open(duckdb_url: str) -> None:
    code = f"import duckdb, time; held = duckdb.connect({duckdb_url[10:]!r}); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.read(1)
        with pytest.raises(StorageError, match="one writer at a time: do this again"):
            write([FEVER], duckdb_url, NEW)
        other.kill()
    write([FEVER], duckdb_url, NEW)
    assert list(read(duckdb_url, "omop")) == [FEVER]


def test_columns_that_are_missing(sqlite_url: str) -> None:
    execute(
        sqlite_url, "CREATE TABLE note (note_id INTEGER, words TEXT)", "CREATE TABLE note_nlp (note_nlp_id INTEGER)"
    )
    with pytest.raises(ConfigError, match="table 'note' has no column note_text"):
        list(read(sqlite_url, "omop"))
    execute(sqlite_url, "ALTER TABLE note ADD COLUMN note_text TEXT")
    with pytest.raises(ConfigError, match="table 'note_nlp' has no column note_id, lexical_variant"):
        list(read(sqlite_url, "omop"))
    assert list(read(sqlite_url, Omop(read_spans=False))) == []


@pytest.mark.parametrize("options", [{"table": ""}, {"system": "s" * 251}, {"table": "a\x00b"}, {"date": "today"}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="omop"):
        Omop(**options)


def test_validate_names_what_is_wrong_by_its_number(database: str) -> None:
    write([FEVER, note("13", "Qvortrup", Span(0, 8, "L"))], database, NEW)
    execute(database, "UPDATE note_nlp SET lexical_variant = 'other' WHERE note_nlp_id = 1")
    execute(database, "UPDATE note_nlp SET note_id = 99 WHERE note_nlp_id = 3")
    counts, failed = validate(database)
    assert counts == {"rows": 3, "exact": 1, "shortened": 0, "wrong": 1, "without_note": 1}
    assert failed == [(1, "lexical_variant is not what stands at its offset"), (3, "its note is not in NOTE")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE note_nlp SET \"offset\" = '4' WHERE note_nlp_id = 1",
        "UPDATE note_nlp SET lexical_variant = 'feve' WHERE note_nlp_id = 1",
        "UPDATE note_nlp SET lexical_variant = '' WHERE note_nlp_id = 1",
        "UPDATE note_nlp SET term_modifiers = 'label=L;end=9' WHERE note_nlp_id = 1",
        "UPDATE note SET note_text = 'Other words.' WHERE note_id = 12",
    ],
)
def test_validate_sees_every_kind_of_change(change: str, database: str) -> None:
    write([FEVER], database, NEW)
    execute(database, change)
    assert validate(database).counts["wrong"] >= 1


def test_a_database_is_known_by_all_that_it_streams(database: str) -> None:
    write(NOTES, database, NEW)
    ((name, sha256),) = contents(database, "omop")
    assert "host=" not in name and "clinnlp@" not in name
    assert contents(database, "omop") == [(name, sha256)]
    notes_only = contents(database, Omop(read_spans=False))
    write([note("12", FEVER.text, Span(0, 2, "L"))], database, LABELS)
    assert contents(database, "omop") != [(name, sha256)]
    assert contents(database, Omop(read_spans=False)) == notes_only
    execute(database, "UPDATE note SET person_id = 8 WHERE note_id = 12")
    assert contents(database, Omop(read_spans=False)) != notes_only


def test_notes_are_read_while_their_labels_are_written(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_omop_read, "READ_ROWS", 3)
    monkeypatch.setattr(_omop_write, "WRITE_DOCUMENTS", 2)
    made = [note(str(n), "fever", Span(0, 5, "L")) for n in range(20)]
    write(made, database, NEW)
    counts = write(read(database, "omop"), database, Omop(system="copy"))
    assert (counts["documents"], counts["spans"]) == (20, 20)
    assert list(read(database, Omop(system="copy"))) == made


def test_memory_does_not_grow_with_the_database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_omop_read, "READ_ROWS", 20)
    monkeypatch.setattr(_omop_write, "WRITE_DOCUMENTS", 20)

    def notes(count: int) -> Iterator[Document]:
        for n in range(count):
            yield note(str(n), f"{n} " + "fever " * 2000, *(Span(0, 1 + k % 6, "L") for k in range(3)))

    def peak(use: Callable[[], object]) -> float:
        tracemalloc.start()
        use()
        reached = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return reached

    write(notes(1), sqlite_url, NEW)  # what SQLAlchemy needs once
    for use in (
        lambda: write(notes(400), sqlite_url, NEW),
        lambda: sum(len(d.spans) for d in read(sqlite_url, "omop")),
        lambda: validate(sqlite_url),
    ):
        assert peak(use) < 3, "MiB, of 4.8 MB of notes"
