"""The notes to be labeled: read as often as needed, and known by the content of their files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path
from typing import Protocol

from clinnlp.core.document import Document, Excluded
from clinnlp.errors import ConfigError
from clinnlp.formats.base import Format, contents, read_records
from clinnlp.labeling.plan import Record

Files = tuple[tuple[str, str], ...]


class Source(Protocol):
    """Records that come in the same order each time they are read."""

    def records(self) -> Iterable[Record]:
        """The records, from the first."""

    def files(self) -> Files:
        """The files they are read from, as names and SHA-256, in order: equal files hold equal records."""


@dataclass(frozen=True)
class Notes:
    """The notes that a PATH means: a file, a folder, a glob or a database."""

    path: str
    format: Format
    exclude: Mapping[str, str | list[str]] = field(default_factory=dict)
    """Fields of `meta` and the values of them with which notes are left out."""
    with_spans: bool = True
    """Whether notes keep the spans they come with; without, other spans do not make other notes."""

    def records(self) -> Iterator[Record]:
        """Stream the notes from their files; one that is left out comes as `Excluded`."""
        rules = {name: {values} if isinstance(values, str) else set(values) for name, values in self.exclude.items()}
        for number, record in enumerate(read_records(self.path, self.format), 1):
            if isinstance(record, Document) and (rule := _rule(record, rules)):
                yield Excluded(f"note {number} of the input", f"left out by its {rule}", record.id)
            else:
                yield record if self.with_spans or not isinstance(record, Document) else replace(record, spans=())

    def check_apart(self, out: str) -> None:
        """Raises ConfigError if labels in a folder `out` would be found among the notes by the next run."""
        out = out.removeprefix("file://")
        if "://" in out + self.path or not {".jsonl", ".parquet"} & set(self.format.suffixes):
            return
        path, names = Path(self.path), Path(self.path).parts
        last = next((place for place, name in enumerate(names) if has_magic(name)), len(names))
        root, folder = (path if path.exists() else Path(*names[:last])).resolve(), Path(out).resolve()
        inside = folder.is_relative_to(root) and not any(n.startswith(".") for n in folder.relative_to(root).parts)
        if inside and ("**" in names or path.is_dir()):
            raise ConfigError(
                "the labels would lie among the notes, and be read as notes by the next run", where=out,
                next="choose an --out beside the folder of the notes",
            )  # fmt: skip

    def files(self) -> Files:
        """The files, or the database as one. Raises ConfigError if there are none."""
        return tuple(contents(self.path, self.format))


def _rule(document: Document, rules: Mapping[str, set[str]]) -> str:
    """The field by which a document is left out, or nothing."""
    return next((name for name, values in rules.items() if str(document.meta.get(name)) in values), "")


@dataclass(frozen=True)
class InMemory:
    """Notes that were read before; they are known by themselves, without files."""

    notes: Sequence[Record]

    def records(self) -> Iterable[Record]:
        """The notes."""
        return self.notes

    def files(self) -> Files:
        """None."""
        return ()
