"""Proof that every row of NOTE_NLP names what stands in its note."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clinnlp.formats import _note_nlp, _omop_read, _sql
from clinnlp.formats._bytes import Bad

if TYPE_CHECKING:
    from clinnlp.formats.omop import Omop

NAMED = 1000  # faults that are kept; all are counted


def check(engine: Any, options: "Omop", where: str) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Counts of rows that name their words and of those that do not, and the first of these with reasons."""
    import sqlalchemy as sa

    note = _sql.find_table(engine, options.table, options.schema, ("note_id", "note_text"), where)
    nlp = _omop_read.note_nlp(engine, options, where)
    counts, failed = Counter(rows=0, exact=0, shortened=0, wrong=0, without_note=0), list[tuple[int, str]]()
    if nlp is None:
        return counts, failed

    def fail(kind: str, id: int, reason: str) -> None:
        counts[kind] += 1
        if len(failed) < NAMED:
            failed.append((id, reason))

    for rows in _omop_read.batches(engine, note, ("note_id", "note_text"), where):
        found = _omop_read.rows_of(engine, nlp, [row["note_id"] for row in rows], "")
        for row in rows:
            for record in found.get(str(row["note_id"]), ()):
                counts["rows"] += 1
                try:
                    held = _note_nlp.place(record)
                    _note_nlp.check(held, _omop_read.text_of(row))
                    counts["exact" if held.end - held.start == len(held.kept) else "shortened"] += 1
                except Bad as reason:
                    fail("wrong", record["note_nlp_id"], str(reason))
    known = sa.select(note.c.note_id).where(note.c.note_id == nlp.c.note_id).exists()
    for (id,) in _streamed(engine, sa.select(nlp.c.note_nlp_id).where(~known).order_by(nlp.c.note_nlp_id)):
        counts["rows"] += 1
        fail("without_note", id, "its note is not in NOTE")
    return counts, failed


def _streamed(engine: Any, asked: Any) -> Iterator[Any]:
    with engine.connect().execution_options(yield_per=10_000) as connection:
        yield from connection.execute(asked)
