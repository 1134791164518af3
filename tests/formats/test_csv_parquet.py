"""CSV and Parquet: cells exactly as stored, bad rows set aside, wrong columns named."""

import csv as stdlib_csv
import pickle
import zipfile
from pathlib import Path

import pytest

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ConfigError, DataError
from clinnlp.formats.base import read, read_records
from clinnlp.formats.csv import Csv
from clinnlp.formats.parquet import Parquet


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "n.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("cell", ["None", "NA", "null", "nan", "0012", "9007199254740993", "", "1e5", " x "])
def test_cells_stay_strings(cell: str, tmp_path: Path) -> None:
    (document,) = read(written(tmp_path, f"id,text\n{cell},{cell}\n".encode()), "csv")
    assert (document.id, document.text) == (cell, cell)


def test_line_ends_nul_bom_and_long_cells(tmp_path: Path) -> None:
    text = "a\r\nb\nc\rd\x00e" + "x" * 300_000
    (document,) = read(written(tmp_path, b"\xef\xbb\xbftext\r\n" + f'"{text}"\r\n\r\n'.encode()), "csv")
    assert document.text == text
    assert document.id == "1"


def test_bad_rows_are_set_aside(tmp_path: Path) -> None:
    rows = [
        b"id,text",
        b"1,good",
        b'2,"two',
        b'lines",more',
        b"3,caf\xe9",
        b'4,"ab"c',
        b"5,good",
        b"6",
        b'7,"open',
        b"x",
    ]
    records = list(read_records(written(tmp_path, b"\n".join(rows)), "csv"))
    assert [r.id for r in records if isinstance(r, Document)] == ["1", "5"]
    assert [(r.where, r.reason) for r in records if isinstance(r, Quarantined)] == [
        ("n.csv line 3", "the row has 3 cells, the header 2"),
        ("n.csv line 5", "cell 2 is not valid UTF-8 at its byte 3: if it is cp1252, convert the file"),
        ("n.csv line 6", "not valid CSV (text after a closing quote)"),
        ("n.csv line 8", "the row has 1 cells, the header 2"),
        ("n.csv line 9", "not valid CSV (a quote is never closed; set aside with it, to the end of the file: 1 lines)"),
    ]


@pytest.mark.parametrize(
    ("reader", "header", "told"),
    [
        (Csv(), "id,note", r"there is no column 'text'; the columns are 'id', 'note'\. Next: name the right column"),
        (
            Csv(),
            "id;text",
            r"columns are 'id;text'\. Next: set the delimiter, if it is another, or name the right column",
        ),
        (Csv(id_field="nr"), "id,text", "there is no column 'nr'"),
        (Csv(), "id,text,text", "column 'text' occurs twice"),
        (Csv(), "Mr Qvortrup has had a cough,x", "the columns are number 1, 'x'"),
    ],
)
def test_columns_are_checked(reader: Csv, header: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as error:
        list(read(written(tmp_path, f"{header}\n1,2\n".encode()), reader))
    assert "Qvortrup" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_refused_by_its_name(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"n\.csv: the header cannot be read: the file is UTF-16: convert it to UTF-8"):
        list(read(written(tmp_path, "\ufeffid,text\n1,fever\n".encode(encoding)), "csv"))


def test_declared_delimiter_and_labels(tmp_path: Path) -> None:
    path = written(tmp_path, b'text;labels;extra\na,b;X|Y;1\nc;"[""Z""]";2\nd;;3\ne;[x;4\n')
    documents = list(read(path, Csv(delimiter=";", labels_separator="|")))
    assert [d.labels for d in documents] == [("X", "Y"), ("Z",), (), ("[x",)]
    assert [d.meta for d in documents] == [{"extra": str(n)} for n in (1, 2, 3, 4)]
    with pytest.raises(ConfigError, match="delimiter must be one character"):
        list(read(path, Csv(delimiter=";;")))


def test_header_only_and_empty(tmp_path: Path) -> None:
    assert list(read(written(tmp_path, b""), "csv")) == []
    assert list(read(written(tmp_path, b"id,text\n"), "csv")) == []


def test_mts_dialog_as_stdlib_reads_it(shared: Path) -> None:
    folder = shared / "data" / "mts_dialog" / "Main-Dataset"
    if not folder.is_dir():
        pytest.skip("the corpus mts_dialog is not in the shared folder")
    reader = Csv(id_field="ID", text_field="section_text", labels_field="section_header")
    sizes = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(stdlib_csv.DictReader(stream))
        documents = list(read(path, reader))
        assert [(d.id, d.text, d.labels, d.meta) for d in documents] == [
            (r["ID"], r["section_text"], (r["section_header"],), {"dialogue": r["dialogue"]}) for r in rows
        ]
        sizes[len(documents)] = sum("\r\n" in d.meta["dialogue"] for d in documents)
    assert sizes.keys() == {1201, 100, 200}
    assert sizes[1201] > 1000
    assert sizes[100] == sizes[200] == 0


def table(tmp_path: Path, columns: dict[str, object]) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    path = tmp_path / "n.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = {
        "id": pa.array([7, 2**53 + 1]),
        "text": pa.array(["a\x00", ""], pa.large_string()).dictionary_encode(),
        "labels": pa.array(["X", None]),
        "spans": pa.array(['[{"start": 0, "end": 1, "label": "L"}]', None]),
        "day": pa.array([0, None], pa.date32()),
    }
    first, second = read(table(tmp_path, columns), "parquet")
    assert (first.id, first.text, first.labels, first.meta) == ("7", "a\x00", ("X",), {"day": "1970-01-01"})
    assert (first.spans[0].end, second.id, second.text, second.spans) == (1, "9007199254740993", "", ())


def test_parquet_refuses_wrong_types_and_sets_rows_aside(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="column 'text' holds int64, not strings"):
        list(read(table(tmp_path, {"text": [1]}), "parquet"))
    with pytest.raises(DataError, match="column 'id' holds double, not strings or whole numbers"):
        list(read(table(tmp_path, {"text": ["a"], "id": [1.0]}), "parquet"))
    with pytest.raises(DataError, match="there is no column 'note'; the columns are 'text'"):
        list(read(table(tmp_path, {"text": ["a"]}), Parquet(text_field="note")))
    torn = pa.Array.from_buffers(pa.string(), 2, [*pa.array(["ab", "cd"]).buffers()[:2], pa.py_buffer(b"a\xe9cd")])
    records = list(read_records(table(tmp_path, {"text": torn}), "parquet"))
    assert records[0] == Quarantined("n.parquet row 1", "column 'text' is not valid UTF-8 at its byte 1")
    assert records[1].text == "cd"
    records = list(read_records(table(tmp_path, {"text": ["a", None]}), "parquet"))
    assert records[1] == Quarantined("n.parquet row 2", "field 'text' is null, not a string")
    path = tmp_path / "n.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        list(read(path, "parquet"))


def test_parquet_never_unpickles_an_extension_type(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    canary = tmp_path / "canary"

    class Payload:
        """Makes a file when it is unpickled."""

        def __reduce__(self) -> tuple[object, ...]:
            return open, (str(canary), "w")

    hint = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Payload()),
    }
    schema = pa.schema([pa.field("text", pa.string(), metadata=hint)])
    pq.write_table(pa.table({"text": ["fever"]}, schema=schema), tmp_path / "n.parquet")
    (document,) = read(tmp_path / "n.parquet", "parquet")
    assert document.text == "fever" and not canary.exists()


@pytest.mark.parametrize("ending", ["xlsx", "xlsm"])
def test_a_workbook_is_no_csv(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"n.{ending}"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", "<c>id</c>" * 50)
    with pytest.raises(DataError, match=rf"n\.{ending}: .*(header|column)"):
        list(read(path, "csv"))
    with pytest.raises(ConfigError, match=r"holds no \.csv file"):
        list(read(tmp_path, "csv"))
