"""Notes and rows per second of format omop, with peak memory, beside what else could read and write the same rows.

`python benchmarks/omop.py --database sqlite` or, with PGHOST, PGUSER and PGDATABASE of a server to try on,
`python benchmarks/omop.py --database postgres`. Each measurement is a process of its own; medians of --repeats. Seconds
of the processor are those of the client alone: a rate over them does not depend on what else the machine is doing.
ADBC is measured if adbc-driver-postgresql is installed.
"""

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cells

from clinnlp.core.document import Document, Span
from clinnlp.formats import _sql
from clinnlp.formats.base import read, write
from clinnlp.formats.omop import Omop, validate

WORDS = (
    "patient",
    "denies",
    "fever",
    "and",
    "chest",
    "pain",
    "since",
    "metformin",
    "500",
    "mg",
    "daily",
    "no",
    "acute",
)
NAMES = {"table": "bench_note", "nlp_table": "bench_note_nlp", "date": "2026-01-31"}
ROW = ("note_nlp_id", "note_id", "snippet", "offset", "lexical_variant", "nlp_system", "nlp_date", "term_modifiers")


def documents(notes: int, spans: int, characters: int) -> Iterator[Document]:
    """Synthetic notes of about that many characters, each with that many spans."""
    draw = random.Random(13)
    for number in range(1, notes + 1):
        text = " ".join(draw.choices(WORDS, k=characters // 6))
        starts = sorted(draw.sample(range(len(text) - 12), spans))
        yield Document(
            str(number), text, tuple(Span(s, s + 12, "PROBLEM", 0.91) for s in starts), (), str(number % 500 + 1)
        )


def rows(spans: int, count: int, shift: int) -> list[tuple[Any, ...]]:
    """Rows of NOTE_NLP as another program would hold them ready."""
    return [
        (shift + n, n // spans + 1, "x" * 240, "100", "chest pain si", "bench", "2026-01-31", "label=PROBLEM;end=112")
        for n in range(1, count + 1)
    ]


def reading(url: str, options: dict[str, Any], _: argparse.Namespace) -> tuple[int, float]:
    start = time.perf_counter()
    return sum(1 for _ in read(url, Omop(**NAMES, **options))), time.perf_counter() - start


def writing(url: str, options: dict[str, Any], size: argparse.Namespace) -> tuple[int, float]:
    start = time.perf_counter()
    made = documents(size.notes, size.spans, size.characters)
    return write(made, url, Omop(**NAMES, **options))["spans"], time.perf_counter() - start


def proving(url: str, options: dict[str, Any], _: argparse.Namespace) -> tuple[int, float]:
    start = time.perf_counter()
    return validate(url, Omop(**NAMES, **options)).counts["rows"], time.perf_counter() - start


def making(url: str, _: dict[str, Any], size: argparse.Namespace) -> tuple[int, float]:
    """What making the synthetic documents costs by itself: part of `writing`."""
    start = time.perf_counter()
    return sum(len(d.spans) for d in documents(size.notes, size.spans, size.characters)), time.perf_counter() - start


def inserting(url: str, options: dict[str, Any], size: argparse.Namespace) -> tuple[int, float]:
    """Bare rows into NOTE_NLP: by SQLAlchemy's executemany, by COPY as the format does, or by ADBC."""
    held = rows(size.spans, size.notes * size.spans, 500_000_000)
    way = options["way"]
    with _sql.opened(url, write=True) as engine:
        table = _sql.find_table(engine, NAMES["nlp_table"], None, (), "")
        start = time.perf_counter()
        if way == "adbc":
            import pyarrow as pa
            from adbc_driver_postgresql import dbapi

            kinds = [pa.int32(), pa.int32(), *(pa.string(),) * 4, pa.date32(), pa.string()]
            columns = list(zip(*held, strict=True))
            columns[6] = pa.array(columns[6]).cast(pa.date32())
            batch = pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names=list(ROW))
            with dbapi.connect("postgresql:///") as connection, connection.cursor() as cursor:
                cursor.adbc_ingest(NAMES["nlp_table"], batch, mode="append")
                connection.commit()
        else:
            with engine.begin() as connection:
                for part in range(0, len(held), 10_000):
                    made = [dict(zip(ROW, row, strict=True)) for row in held[part : part + 10_000]]
                    if way == "copy":
                        _sql.insert(connection, table, made)
                    else:
                        connection.execute(table.insert(), made)
        seconds = time.perf_counter() - start
        with engine.begin() as connection:
            connection.execute(table.delete().where(table.c.nlp_system == "bench"))
    return len(held), seconds


def fetching(url: str, options: dict[str, Any], _: argparse.Namespace) -> tuple[int, float]:
    """Bare texts of NOTE by ADBC, without documents or pages."""
    from adbc_driver_postgresql import dbapi

    start, found = time.perf_counter(), 0
    with dbapi.connect("postgresql:///") as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT note_id, person_id, note_text, note_date FROM {NAMES['table']} ORDER BY note_id")
        for batch in cursor.fetch_record_batch():
            found += len(batch.to_pylist())
    return found, time.perf_counter() - start


Measure = Callable[[str, dict[str, Any], argparse.Namespace], tuple[int, float]]


def child(measure: Measure, url: str, options: dict[str, Any], size: argparse.Namespace, pipe: Any) -> None:
    for name in ("sqlalchemy", "sqlalchemy.dialects.postgresql", "psycopg", "sqlalchemy.dialects.sqlite"):
        importlib.import_module(name)
    if measure is fetching or options.get("way") == "adbc":
        importlib.import_module("adbc_driver_postgresql.dbapi")
        importlib.import_module("pyarrow")
    before = time.process_time()
    count, seconds = measure(url, options, size)
    cpu = time.process_time() - before
    pipe.send((count, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(measure: Measure, url: str, size: argparse.Namespace, **options: Any) -> dict[str, Any]:
    """Rate and peak memory, each repeat in a fresh process."""
    context, found = multiprocessing.get_context("spawn"), []
    for _ in range(size.repeats):
        mine, theirs = context.Pipe()
        process = context.Process(target=child, args=(measure, url, options, size, theirs))
        process.start()
        theirs.close()
        found.append(mine.recv())
        process.join()
    rates = sorted(count / seconds for count, seconds, *_ in found)
    return {
        "rows": found[0][0],
        "rows_per_second": round(statistics.median(rates)),
        "from_to": [round(rates[0]), round(rates[-1])],
        "rows_per_cpu_second": round(statistics.median(count / cpu for count, _, cpu, _ in found)),
        "peak_mib": round(max(peak for *_, peak in found)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=["sqlite", "postgres"], required=True)
    parser.add_argument("--notes", type=int, default=20_000)
    parser.add_argument("--spans", type=int, default=10)
    parser.add_argument("--characters", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    size = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = "postgresql+psycopg:///" if size.database == "postgres" else f"sqlite:///{folder}/bench.db"
        if size.database == "sqlite":
            (Path(folder) / "bench.db").touch()
        drop(url)
        start = os.getloadavg()[0]
        values: dict[str, Any] = {"database": size.database, "notes": size.notes, "spans_per_note": size.spans}
        values |= {"characters": size.characters, "repeats": size.repeats}
        values["fill_notes_and_spans"] = measured(
            writing, url, argparse.Namespace(**vars(size) | {"repeats": 1}), add_notes=True
        )
        values["write_spans_again"] = measured(writing, url, size)
        values["making_the_documents_alone"] = measured(making, url, size)
        values["read_notes"] = measured(reading, url, size, read_spans=False)
        values["read_notes_and_spans"] = measured(reading, url, size)
        few = argparse.Namespace(**vars(size) | {"notes": size.notes // 10})
        values["write_a_tenth"] = measured(writing, url, few)
        values["validate"] = measured(proving, url, size)
        values["bare_insert_executemany"] = measured(inserting, url, size, way="executemany")
        if size.database == "postgres":
            values["bare_insert_copy"] = measured(inserting, url, size, way="copy")
            if importlib.util.find_spec("adbc_driver_postgresql"):
                values["bare_insert_adbc"] = measured(inserting, url, size, way="adbc")
                values["bare_fetch_adbc"] = measured(fetching, url, size)
        values["load_average"] = [round(start, 1), round(os.getloadavg()[0], 1)]
        cells.write(f"omop-{size.database}", values)
        drop(url)


def drop(url: str) -> None:
    """Remove the tables of this benchmark."""
    with _sql.opened(url, write=True) as engine, engine.begin() as connection:
        for name in (NAMES["nlp_table"], NAMES["table"]):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")


if __name__ == "__main__":
    main()
