"""The notes of a pretraining run: read, made distinct, some held out, and source text mixed in."""

import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.run import Run, sha256_files
from clinnlp.core.spool import Part, Spool, Texts
from clinnlp.errors import ConfigError, DataError
from clinnlp.formats.base import Format, read_records
from clinnlp.formats.jsonl import Jsonl
from clinnlp.objectives.base import CORPUS, Objective
from clinnlp.recipes._data import data_sha256, refused, write_quarantine
from clinnlp.text.duplicates import near_sets
from clinnlp.text.splits import group_key, split_places
from clinnlp.text.surrogates import FILLED, fill

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.recipes.pretrain import Pretrain
    from clinnlp.training.pretraining import BlockSource

log = logging.getLogger("clinnlp")
SPLIT_SEED = 13
TARGET = "corpus"


@dataclass(frozen=True)
class PretrainingData:
    """Where the notes are and how they are stored; the options of the format stand beside its name."""

    train: str | None = None
    """Notes to pretrain on: a file, a folder or a quoted glob."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How notes and annotations are stored; its own options are set beside it (--data.text_field ...)."""
    bad_records: Literal["refuse", "quarantine"] = "quarantine"
    """What to do with a record of any corpus that cannot be read: stop, or set it aside, counted and named."""


@dataclass(frozen=True)
class Corpus:
    """One more set of notes to pretrain on."""

    notes: str
    """A file, a folder or a quoted glob."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; the options of the format stand beside its name."""


@dataclass(frozen=True)
class Replay:
    """Text of the kind that the base was pretrained on."""

    notes: str | None = None
    """A file, a folder or a quoted glob; null replays nothing, and what is forgotten is not measured."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the text is stored; the options of the format stand beside its name."""
    share: float = 0.05
    """Share of the characters to train on that are to be of it; 0 only measures what is forgotten."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError("must be a share from 0 to under 1", where="replay.share")


@dataclass(frozen=True)
class Labeled:
    """A small labeled set on which the frozen encoder is probed before and after training."""

    notes: str | None = None
    """Notes with spans or labels: a file, a folder or a quoted glob; null probes nothing."""
    format: Format = field(default_factory=Jsonl, metadata={"flat": True})
    """How the notes are stored; the options of the format stand beside its name."""


@dataclass(frozen=True)
class Notes:
    """What a run reads, on disk: notes to train on, held out, source text held out; and labeled ones to probe."""

    train: Part
    held_out: Part
    source: Part
    labeled: list[Document]


class _Reader:
    """Reads corpora one after the other and counts what it meets; of equal texts the first is kept, on disk.

    The text of a kept note may have been changed: with `surrogates` placeholders are filled with made-up values.
    """

    def __init__(self, settings: "Pretrain", folder: Path, surrogates: int | None = None) -> None:
        self.root, self.refuse, self.surrogates = settings.root, settings.data.bad_records == "refuse", surrogates
        self.kept = Spool(folder)
        self.keys: list[str] = []  # of each kept note the key of its group, and its characters
        self.lengths = array("q")
        self.seen: set[bytes] = set()
        self.quarantined: list[Quarantined] = []
        self.hashes: dict[str, str] = {}
        self.notes = self.empty = self.unfilled = 0

    def read(self, corpora: Sequence[Corpus], name: str = TARGET) -> range:
        """The places of the distinct notes of corpora; those of the target know their corpus by its number.

        Raises DataError if no note holds any text, or for a record that cannot be read and is not to be set aside.
        """
        first = len(self.kept)
        for number, corpus in enumerate(corpora):
            path = str(self.root / corpus.notes)
            self.hashes[f"{name} {number}"] = data_sha256(path, corpus.format)
            for record in read_records(path, corpus.format):
                if isinstance(record, Quarantined):
                    if self.refuse:
                        raise refused(record)
                    self.quarantined.append(record)
                else:
                    self._take(record, number if name == TARGET else -1)
        if len(self.kept) == first:
            where = ", ".join(str(self.root / corpus.notes) for corpus in corpora)
            raise DataError("no documents with text", where=where, next="check the path and the format")
        return range(first, len(self.kept))

    def _take(self, note: Document, corpus: int) -> None:
        self.notes += 1
        if not note.text.strip():
            self.empty += 1
            return
        digest = blake2b(note.text.encode(), digest_size=16).digest()
        if digest in self.seen:
            return
        self.seen.add(digest)
        self.keys.append(group_key(note))
        if self.surrogates is not None:
            note, left = fill(note, self.surrogates)
            self.unfilled += left
        kept = {CORPUS: corpus} | {name: note.meta[name] for name in (FILLED,) if name in note.meta}
        self.kept.append(replace(note, meta=kept))
        self.lengths.append(len(note.text))


def read_notes(settings: "Pretrain", run: Run) -> Notes:
    """Read all notes; the counts go into the manifest, the files are pinned. Raises DataError if there are none."""
    reader = _Reader(settings, run.folder, SPLIT_SEED if settings.surrogates else None)
    replay, probe = settings.replay, settings.probe
    first = [] if settings.data.train is None else [Corpus(settings.data.train, settings.data.format)]
    notes: Sequence[int] = reader.read([*first, *settings.corpora])
    source: Sequence[int] = () if replay.notes is None else reader.read([Corpus(replay.notes, replay.format)], "source")
    probed = _Reader(settings, run.folder)
    if probe.notes is not None:
        probed.read([Corpus(probe.notes, probe.format)])
    of_probe = {f"probe {name}": sha256 for name, sha256 in probed.hashes.items()}
    files = [path for objective in settings.objectives for path in objective.files()]
    run.pin("data", reader.hashes | of_probe | {f"objective {n}": sha256_files([path]) for n, path in enumerate(files)})
    near: set[int] = set()
    if settings.near_duplicates is not None:
        sets = near_sets(Texts(reader.kept), settings.near_duplicates)
        near = {place for place, leader in enumerate(sets.tolist()) if place != leader}
        notes, source = ([place for place in part if place not in near] for part in (notes, source))
    train, kept = _split(notes, reader.keys, settings, "data.train")
    more, measured = _split(source, reader.keys, settings, "replay.notes") if source else ([], [])
    wanted = sum(reader.lengths[place] for place in train) * replay.share / (1 - replay.share)
    replayed = _up_to(more, reader.lengths, wanted)
    counts = {
        "notes": reader.notes, "empty": reader.empty, "repeated": reader.notes - reader.empty - len(reader.kept),
        "nearly repeated": len(near), "quarantined": len(reader.quarantined) + len(probed.quarantined),
        "train": len(train), "held_out": len(kept),
    }  # fmt: skip
    if source:
        counts |= {
            "replayed": len(replayed),
            "source held_out": len(measured),
            "source unread": len(more) - len(replayed),
        }
    if settings.surrogates:
        counts["placeholders unfilled"] = reader.unfilled
    run.manifest.facts["notes"] = counts
    write_quarantine(run.folder, reader.quarantined + probed.quarantined)
    log.info("notes: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    training, held_out, held_source = (Part(reader.kept, held) for held in ([*train, *replayed], kept, measured))
    return Notes(training, held_out, held_source, list(probed.kept))


def block_source(
    objective: Objective,
    notes: Sequence[Document],
    tokenizer: "NoteTokenizer",
    size: int,
    packed: bool,
    seed: int,
    folder: Path | None = None,
) -> "BlockSource":
    """Notes as rows of at most `size` tokens for an objective; with a folder the tokens lie there, on disk."""
    from clinnlp.encode.marks import CLOSED
    from clinnlp.encode.packing import PackedBlocks, TokenStore
    from clinnlp.training.pretraining import BlockSource

    room = size - (len(tokenizer.suffix) if objective.pairs else 0)
    store = TokenStore.of(tokenizer, map(objective.mark, notes), folder)
    if not (store.marks < CLOSED).any():
        raise DataError("the notes hold nothing but placeholders of de-identification", next="give notes with text")
    blocks = PackedBlocks(store, tokenizer, room, packed and objective.guesses_tokens)
    return BlockSource(blocks, objective, tokenizer, seed)


def _split(places: Sequence[int], keys: Sequence[str], settings: "Pretrain", where: str) -> tuple[list[int], list[int]]:
    """Notes to train on and those held out, of one group at least. Raises DataError if there is one group alone."""
    own = [keys[place] for place in places]
    if (groups := len(set(own))) < 2:
        raise DataError(
            f"{len(places)} distinct notes of one patient (group), repeats left out: none can be held out",
            where=where,
            next="give notes of two groups or more",
        )
    share = max(min(settings.held_out, settings.held_out_notes / len(places)), 1 / groups)
    parts = split_places(own, {"train": 1 - share, "held_out": share}, seed=SPLIT_SEED)
    train, kept = ([places[number] for number in parts[name]] for name in ("train", "held_out"))
    return train, kept


def _up_to(places: Sequence[int], lengths: Sequence[int], characters: float) -> list[int]:
    """Notes drawn at random up to a number of characters, in their order."""
    import numpy as np

    order = np.random.default_rng(SPLIT_SEED).permutation(len(places))
    drawn = np.array([lengths[places[number]] for number in order])
    before = np.cumsum(drawn) - drawn
    return [places[number] for number in sorted(order[before < characters].tolist())]
