"""Tokens of a whole note: ids, offsets in characters of the original text, and the units that carry tags."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.encode.characters import SPACE, classify, first_from, unit_starts
from clinnlp.errors import ClinnlpError, ConfigError, DataError, IntegrityError, StorageError, UnsafeError

BATCH_TEXTS, BATCH_CHARS = 256, 500_000  # what the Rust encoder is given at once, so that memory is bounded


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """All tokens of a note without special ones: `ids` (T,) int32; `offsets` (T, 2) int64, half-open, in characters.

    Starts never fall; no token starts or ends on whitespace. A token with start == end covers nothing
    (it was only whitespace): it keeps its place for the model and carries no span.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.offsets.shape != (len(self.ids), 2):
            raise ValueError(f"{self.ids.shape} ids cannot have {self.offsets.shape} offsets")

    def __len__(self) -> int:
        return len(self.ids)


class NoteTokenizer:
    """A Hugging Face fast tokenizer that reads whole notes as plain text: no truncation, no special tokens.

    `hf` is the tokenizer as loaded and is never changed, so that it can be saved beside a model.
    """

    def __init__(self, hf: Any) -> None:
        from tokenizers import Tokenizer

        self.hf = hf
        self._rust = Tokenizer.from_str(hf.backend_tokenizer.to_str())
        self._rust.no_truncation()  # tokenizer.json may carry both
        self._rust.no_padding()
        probe = self._rust.encode("a", add_special_tokens=True)
        body = [i for i, special in enumerate(probe.special_tokens_mask) if not special] or [len(probe.ids)]
        self.prefix: tuple[int, ...] = tuple(probe.ids[: body[0]])
        self.suffix: tuple[int, ...] = tuple(probe.ids[body[-1] + 1 :])
        self._rust.encode_special_tokens = True  # "[MASK]" in a note is text
        self._unknown = _id(hf.unk_token_id)
        self._special = np.zeros(self.vocab_size, dtype=bool)
        self._special[[i for i in hf.all_special_ids if i != self._unknown]] = True

    def __reduce__(self) -> tuple[type["NoteTokenizer"], tuple[Any]]:
        return NoteTokenizer, (self.hf,)  # a pickled Rust tokenizer forgets encode_special_tokens

    @classmethod
    def load(
        cls, path_or_name: str | os.PathLike[str], offline: bool = True, revision: str | None = None
    ) -> "NoteTokenizer":
        """Load from a folder or a hub name; runs no code from it and, if `offline`, asks no network.

        Raises StorageError (no such files), ConfigError (no fast tokenizer) or UnsafeError (needs remote code).
        """
        from transformers import AutoTokenizer

        name = os.fspath(path_or_name)
        try:
            hf = AutoTokenizer.from_pretrained(
                name, local_files_only=offline, revision=revision or "main", trust_remote_code=False
            )
        except Exception as error:  # transformers raises OSError, ValueError, JSONDecodeError, KeyError, ...
            raise _load_error(error, name, offline) from error
        if not getattr(hf, "is_fast", False):
            raise ConfigError(
                "the tokenizer has no fast version, so it gives no character offsets",
                where=name,
                next="convert it to a tokenizer.json, or choose a base model that has one",
            )
        return cls(hf)

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside a model, without the traces of how it was loaded here."""
        self.hf.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in values.items() if name not in ("is_local", "local_files_only")}
        path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @cached_property
    def identity(self) -> str:
        """The same for tokenizers that read every text alike."""
        told = f"{self._rust.to_str()} {self.prefix} {self.suffix}"
        return hashlib.sha256(told.encode()).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """How many ids the model must embed, added tokens included."""
        return max(self._rust.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def cls_id(self) -> int | None:
        return _id(self.hf.cls_token_id)

    @property
    def sep_id(self) -> int | None:
        return _id(self.hf.sep_token_id)

    @property
    def pad_id(self) -> int | None:
        return _id(self.hf.pad_token_id)

    @property
    def mask_id(self) -> int | None:
        return _id(self.hf.mask_token_id)

    @property
    def specials(self) -> int:
        """How many special tokens `wrap` adds."""
        return len(self.prefix) + len(self.suffix)

    def wrap(self, ids: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """The ids of one window with the special tokens this tokenizer puts around a text."""
        return np.concatenate([np.asarray(part, dtype=np.int32) for part in (self.prefix, ids, self.suffix)])

    def encode(self, text: str) -> Tokens:
        """Tokenize a whole note. Raises DataError if it is not a valid Unicode string."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize whole notes, each as `encode` does. Raises DataError as `encode` does."""
        for text in texts:
            _check(text)
        return [
            self._tokens(text, encoding)
            for batch in _batches(texts)
            for text, encoding in zip(batch, self._rust.encode_batch(batch, add_special_tokens=False), strict=True)
        ]

    def _tokens(self, text: str, encoding: Any) -> Tokens:
        ids = np.array(encoding.ids, dtype=np.int32)
        if self._special[ids].any():  # the model itself knows the piece, as Unigram does
            encoding = self._plain.encode(text, add_special_tokens=False)
            ids = np.array(encoding.ids, dtype=np.int32)
            if (left := self._special[ids]).any():
                if self._unknown is None:
                    raise IntegrityError("the tokenizer makes special tokens of text", next="choose another base model")
                ids[left] = self._unknown
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return Tokens(ids, _clean(text, offsets))

    @cached_property
    def _plain(self) -> Any:
        """A copy that cuts special strings after their first character, so that no vocabulary entry matches them."""
        from tokenizers import Regex, Tokenizer, pre_tokenizers

        cut = [f"{re.escape(t[0])}(?={re.escape(t[1:])})" for t in sorted(self.hf.all_special_tokens) if len(t) > 1]
        rust = Tokenizer.from_str(self._rust.to_str())
        rust.encode_special_tokens = True
        if cut:
            split = pre_tokenizers.Split(Regex("|".join(cut)), "merged_with_previous")
            rust.pre_tokenizer = pre_tokenizers.Sequence([p for p in (rust.pre_tokenizer, split) if p is not None])
        return rust


def units(text: str, tokens: Tokens) -> npt.NDArray[np.bool_]:
    """Which tokens carry a tag, (T,): those that reach a unit no token before them reached.

    A unit is a run of letters (with their marks), a run of digits, or any other single visible character;
    graphemes are never cut. Units depend on the text alone, so tags mean the same under every tokenizer.
    Tokens that are not units continue the word of the unit before (first-subword labelling, Devlin et al. 2019).
    """
    result = np.zeros(len(tokens), dtype=bool)
    full = np.flatnonzero(tokens.offsets[:, 1] > tokens.offsets[:, 0])
    if len(full):
        number = np.cumsum(unit_starts(text))
        reached = np.maximum.accumulate(number[tokens.offsets[full, 1] - 1])
        result[full] = np.diff(reached, prepend=0) > 0
    return result


def unit_ranges(text: str, tokens: Tokens, units: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Characters of each unit, (U, 2): from its first token's start to the last character its tokens cover.

    Ranges are in order, never empty, never overlap and never start or end on whitespace.
    """
    firsts = np.flatnonzero(units)
    if not len(firsts):
        return np.zeros((0, 2), dtype=np.int64)
    covered = np.where(tokens.offsets[:, 1] > tokens.offsets[:, 0], tokens.offsets[:, 1], 0)
    ends = np.maximum.accumulate(covered)[np.append(firsts[1:], len(tokens)) - 1]
    starts = tokens.offsets[firsts, 0]
    starts[1:] = np.maximum(starts[1:], ends[:-1])  # pieces of one expanded character share it
    classes, joined = classify(text)
    if joined is not None:  # a token may begin with the marks of the grapheme before it: leave them there
        after = first_from(~joined)[starts[1:]]
        glued = starts[1:] == ends[:-1]
        starts[1:][glued] = after[glued]
        ends[:-1][glued] = after[glued]
    visible = classes != SPACE  # what is left of a shared token may begin with a space
    return np.stack([first_from(visible)[starts], ends], axis=1).astype(np.int64)


def _clean(text: str, raw: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Offsets with falling starts raised, whitespace trimmed and dropped marks of the last grapheme added."""
    if not len(raw):
        return raw
    classes, joined = classify(text)
    visible = classes != SPACE
    last = np.maximum.accumulate(np.where(visible, np.arange(1, len(text) + 1, dtype=np.int32), 0))
    starts = first_from(visible)[np.maximum.accumulate(raw[:, 0])]
    ends = np.append(0, last)[raw[:, 1]].astype(np.int64)
    full = ends > starts
    if joined is not None:  # WordPiece drops the accent of "cafe\u0301" and leaves it outside the offsets
        grown = np.maximum(first_from(~joined)[ends], ends)
        borders = np.append(starts[full], len(text))
        limit = borders[np.searchsorted(borders, ends)]
        ends = np.where(full, np.minimum(grown, limit), ends)
    return np.stack([starts, np.where(full, ends, starts)], axis=1).astype(np.int64)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or chars + len(text) > BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(text)
        chars += len(text)
    if batch:
        yield batch


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise DataError(f"a note must be a string, got {type(text).__name__}")
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as error:
        at = error.start  # the error itself holds the note
    else:
        return
    raise DataError(f"lone surrogate at character {at}: the text is not valid Unicode")


def _id(value: Any) -> int | None:
    return None if value is None else int(value)


def _load_error(error: Exception, name: str, offline: bool) -> ClinnlpError:
    if "trust_remote_code" in str(error):
        return UnsafeError("the tokenizer needs code from its folder", where=name, next="choose one that does not")
    if isinstance(error, (ImportError, ValueError)) and "slow tokenizer" in str(error):
        return ConfigError(
            "no fast tokenizer could be loaded", where=name, next="add its tokenizer.json, or choose another base model"
        )
    source = "check the path, or download it first" if offline else "check the path or the hub name"
    return StorageError("no readable tokenizer files here", where=name, next=source)
