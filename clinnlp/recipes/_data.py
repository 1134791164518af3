"""Data sets named in settings: their files, their splits, and what must hold before anything is trained."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import sha256_files
from clinnlp.core.schema import LabelSchema
from clinnlp.errors import ConfigError, DataError
from clinnlp.formats.base import Format, contents, find_files, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._label_map import flag_of, labels_in, unheld, with_names
from clinnlp.recipes._leaks import WAIVERS, check_leaks
from clinnlp.tasks.base import Task
from clinnlp.text.splits import duplicate_ids, split

log = logging.getLogger("clinnlp")

TARGETS = ("target", "target_labeled")  # settings that name notes of another domain
NOTES = ("train", "dev", "test", *TARGETS, "unlabeled")  # settings that name notes


@dataclass(frozen=True)
class DataSettings:
    """Where the notes are and how they are stored; the options of the format stand beside its name."""

    train: str | None = None
    """Notes to train on: a file, a folder or a quoted glob."""
    dev: str | None = None
    """Notes that choose the best weights; null takes dev_share of train."""
    test: str | None = None
    """Notes that are scored once at the end; null takes test_share of train."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How notes and annotations are stored; its own options are set beside it (--data.text_field ...)."""
    dev_share: float = 0.0
    """Share of the train groups (patients) set apart as dev where no dev files are named."""
    test_share: float = 0.0
    """Share of the train groups (patients) set apart as test where no test files are named."""
    split_seed: int = 13
    """Seed of that split, apart from the training seed: seeds then differ on the same data."""
    bad_records: Literal["refuse", "quarantine"] = "refuse"
    """What to do with a record that cannot be read: stop, or set it aside, counted and named."""
    unknown_labels: Literal["refuse", "miss"] = "refuse"
    """What to do with dev or test labels that train lacks: stop, or score them as missed."""
    allow: tuple[str, ...] | str = ()
    """Leaks between splits to accept by name, with a comma between: duplicates, groups, pretraining, transductive (test
    notes among the unlabeled notes of a target). The report says so on top."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """Other names for labels, as --data.label_map.Disease DISEASE: notes of two origins then share theirs. For the
    classes of attributes as --data.label_map '{certainty=probable: certainty=possible}'."""

    def __post_init__(self) -> None:
        names = self.allow.split(",") if isinstance(self.allow, str) else self.allow
        names = tuple(name.strip() for name in names if name.strip())
        if unknown := set(names) - set(WAIVERS):
            raise ConfigError(
                f"{len(unknown)} unknown names", where="data.allow", next=f"there are {', '.join(WAIVERS)}"
            )
        object.__setattr__(self, "allow", names)


@dataclass(frozen=True)
class TrainingData(DataSettings):
    """Where the notes to train on are and, beside them, notes of another domain that the model is made for."""

    target: str | None = None
    """Notes of the domain that the model is for; their labels, if any, are not read. A domain method uses them."""
    target_labeled: str | None = None
    """Labeled notes of that domain, if there are a few: they are trained on with the others."""
    target_weight: float = 1.0
    """How much oftener a labeled target note is drawn than a source note."""
    dev_of: Literal["source", "target"] = "source"
    """Which domain the dev notes are of: methods that map features read them so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target_weight > 0:
            raise ConfigError("must be over 0", where="data.target_weight")


@dataclass
class Splits:
    """The documents of each split, the records that were set aside, and the leaks that data.allow waives.

    `target` are unlabeled notes of another domain, `target_labeled` labeled ones, to be trained on too; `target_empty`
    counts unlabeled ones that were left out, as they are empty.
    """

    train: list[Document]
    dev: list[Document]
    test: list[Document]
    quarantined: list[Quarantined]
    waived: list[str] = field(default_factory=list)
    target: list[Document] = field(default_factory=list)
    target_labeled: list[Document] = field(default_factory=list)
    target_empty: int = 0

    def hashes(self, settings: DataSettings) -> dict[str, str]:
        """The content hash of the files behind each split."""
        named = {"train": settings.train, "dev": settings.dev, "test": settings.test}
        return {name: data_sha256(path, settings.format) for name, path in named.items() if path} | target_hashes(
            settings
        )


def target_hashes(settings: DataSettings) -> dict[str, str]:
    """The content hash of the files of a target."""
    named = {name: getattr(settings, name, None) for name in TARGETS}
    return {name: data_sha256(path, settings.format) for name, path in named.items() if path}


def data_sha256(path: str, format: Format) -> str:
    """The content hash of the files, or of the database, that a PATH means."""
    if format.open(path):
        return contents(path, format)[0][1]
    return sha256_files(find_files(path, format))


def read_as(path: str, format: Format, side: str) -> dict[str, str]:
    """How the annotations of the files that a PATH means were read, each fact named by the side they are on."""
    told = {} if format.open(path) else format.read_as(find_files(path, format))
    return {f"{side} {name}": value for name, value in told.items()}


def refused(record: Quarantined) -> DataError:
    """The error of a record that cannot be read, where none is to be set aside."""
    return DataError(record.reason, where=record.where, next="correct the record, or set bad_records to quarantine")


def none_left(path: str, bad: Sequence[Quarantined]) -> DataError:
    """The error of a PATH without documents, of whose records some may be bad."""
    if not bad:
        return DataError("no documents", where=path, next="check the path and the format")
    told = f"{len(bad)} records were set aside, the first at {bad[0].where}: {bad[0].reason}"
    return DataError(f"no documents are left: {told}", where=path, next="correct the records, or check the format")


def load_documents(
    path: str, settings: DataSettings, quarantined: list[Quarantined], held: set[str] | None = None
) -> list[Document]:
    """The documents of one PATH. Raises DataError for a bad record, for none at all or for repeated ids.

    `held` collects their labels, for those who read further files. Without it a name in data.label_map that none of
    them holds is a ConfigError, or a warning where labels may be missed, if the settings name no other file.
    """
    documents: list[Document] = []
    before, own = len(quarantined), set() if held is None else held
    for record in read_records(path, settings.format):
        if isinstance(record, Document):
            own |= labels_in(record) if settings.label_map else set()
            documents.append(with_names(record, settings.label_map))
        elif settings.bad_records == "quarantine":
            quarantined.append(record)
        else:
            raise refused(record)
    if not documents:
        raise none_left(path, quarantined[before:])
    if repeated := duplicate_ids(documents):
        raise DataError(f"{len(repeated)} document ids occur more than once", where=path, next="make the ids unique")
    alone = held is None and [path] == [one for name in NOTES if (one := getattr(settings, name, None))]
    if alone and (error := unheld(settings.label_map, own)):
        if settings.unknown_labels == "refuse":
            raise error
        log.warning("%s", error)
    return documents


def load_splits(settings: DataSettings, all_read: bool = True) -> Splits:
    """All splits a config names or asks for. Raises LeakError if two of them share a group or a long text.

    Raises ConfigError for a name in data.label_map that no note of any of the files holds; if not all files of the
    run are read here, that is a warning.
    """
    if settings.train is None:
        raise ConfigError("this setting is required", where="data.train", next="give --data.train PATH")
    quarantined: list[Quarantined] = []
    held: set[str] = set()
    parts = {"train": load_documents(settings.train, settings, quarantined, held), "dev": [], "test": []}
    for name, path in (("dev", settings.dev), ("test", settings.test)):
        if path:
            parts[name] = load_documents(path, settings, quarantined, held)
    for name, notes in parts.items():
        if bare := sum("unannotated" in note.meta and not note.labels for note in notes):
            log.warning(
                "%s: %d of %d notes have no file of annotations: read as without a span", name, bare, len(notes)
            )
    parts |= asked_splits(parts, settings)
    targets = load_targets(settings, quarantined, held)
    if error := unheld(settings.label_map, held):
        if all_read:
            raise error
        log.warning("%s", error)
    waived = check_leaks({**parts, "train": parts["train"] + targets[1]}, settings.allow)
    tell_set_aside(quarantined)
    return Splits(parts["train"], parts["dev"], parts["test"], quarantined, waived, *targets)


def tell_set_aside(quarantined: Sequence[Quarantined]) -> None:
    """Log how many records were set aside, and the first of them."""
    for record in quarantined[:5]:
        log.warning("set aside: %s: %s", record.where, record.reason)
    if quarantined:
        log.warning("%d records were set aside", len(quarantined))


def load_targets(
    settings: DataSettings, quarantined: list[Quarantined], held: set[str] | None = None
) -> tuple[list[Document], list[Document], int]:
    """The notes of the domain that a model is for: those without labels, the labeled ones, and how many were empty.

    Notes without labels are given none, whatever they hold, and empty ones are left out. Raises DataError if all are.
    """
    paths = [getattr(settings, name, None) for name in TARGETS]
    given, labeled = (load_documents(path, settings, quarantined, held) if path else [] for path in paths)
    plain = [replace(document, spans=(), labels=()) for document in given if document.text.strip()]
    empty = len(given) - len(plain)
    if empty and not plain:
        raise DataError(
            f"all {empty} target notes are empty", where="data.target", next="check the path and the format"
        )
    if empty:
        log.warning("%d of %d target notes are empty and are left out", empty, len(given))
    return plain, labeled, empty


def asked_splits(parts: Mapping[str, list[Document]], settings: DataSettings) -> dict[str, list[Document]]:
    """Train, and the dev and test splits that its shares ask for and no files hold; nothing if none is asked for."""
    shares = {"dev": settings.dev_share, "test": settings.test_share}
    asked = {name: share for name, share in shares.items() if share and not parts.get(name)}
    if not asked:
        return {}
    return split(parts["train"], {"train": 1.0 - sum(asked.values()), **asked}, settings.split_seed)


def check_labels(
    task: Task, documents: Sequence[Document], schema: LabelSchema, name: str, settings: DataSettings
) -> None:
    """Raises DataError for labels that the schema lacks, or names them where they may be missed."""
    found = Counter(label for d in documents for label in task.gold_labels(d) if label not in schema.labels)
    if not found:
        return
    listed = ", ".join(f"{label!r} ({count})" for label, count in sorted(found.items()))
    if settings.unknown_labels == "refuse":
        attributes = any("=" in label for label in found)
        names = flag_of("NAME=CLASS", "NAME=CLASS") if attributes else flag_of("X", "Y")
        raise DataError(
            f"labels that the training data lacks: {listed}; it has {', '.join(schema.labels)}",
            where=f"data.{name}",
            next=f"correct them, give their other names ({names}), or --data.unknown_labels miss to score them as "
            "missed",
        )
    log.warning("%s holds labels that cannot be found and will be scored as missed: %s", name, listed)


def write_quarantine(folder: Path, quarantined: Sequence[Quarantined]) -> None:
    """Write what was set aside and why to `quarantine.jsonl`; no text of any note is in it."""
    import json

    lines = [json.dumps({"where": q.where, "reason": q.reason}, ensure_ascii=False) for q in quarantined]
    if lines:
        (folder / "quarantine.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
