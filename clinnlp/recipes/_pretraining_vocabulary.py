"""New entries of the vocabulary: words that the tokenizer cuts into many pieces, each begun as the mean of those."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.errors import ConfigError
from clinnlp.text.identified import placeholders
from clinnlp.text.splits import group_key
from clinnlp.text.surrogates import FILLED

if TYPE_CHECKING:
    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.encode.vocabulary import Cut
    from clinnlp.recipes._pretraining_data import Notes

log = logging.getLogger("clinnlp")

MEASURED = 2000  # notes whose words are counted for the report
Told = dict[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """Words of the notes that become tokens of their own."""

    add: int = 0
    """So many words at most, those that save the most tokens; 0 adds none. Each takes a row of the embeddings."""
    gate: float = 1.8
    """Add them only if a word takes more tokens than this: of those in annotated spans, or of all without spans."""
    least_groups: int = 5
    """A word must stand in the notes of so many patients (groups): names seldom do."""

    def __post_init__(self) -> None:
        if self.add < 0:
            raise ConfigError("must be 0 or more", where="vocabulary.add")
        if self.least_groups < 1:
            raise ConfigError("must be 1 or more", where="vocabulary.least_groups")


def extend(
    settings: Vocabulary, notes: "Notes", model: Any, tokenizer: "NoteTokenizer"
) -> "tuple[NoteTokenizer, list[int], Told]":
    """The tokenizer with new entries, their ids, and what is told of the vocabulary; the model gets rows for them."""
    from clinnlp.encode.vocabulary import cut_words, cuts, extended

    some = notes.train[:MEASURED]
    every, inside = cuts(tokenizer, some)
    judged, what = (inside, "words of annotated spans") if inside.words else (every, "words")
    told: Told = {"notes": len(some), "before": _figures(every, inside), "added": 0}
    log.info("vocabulary: %.2f tokens a word of %s, %.3f %% unknown", judged.fertility, what, 100 * every.unknown_rate)
    if not settings.add:
        return tokenizer, [], told
    if not judged.fertility > settings.gate:
        log.warning("no words are added: %s take %.2f tokens, not over %g", what, judged.fertility, settings.gate)
        return tokenizer, [], told
    texts = ((_without_placeholders(note), group_key(note)) for note in notes.train)
    words = cut_words(tokenizer, texts, settings.add, settings.least_groups)
    if not words:
        log.warning("no words are added: none is cut and stands in notes of %d groups", settings.least_groups)
        return tokenizer, [], told
    wider, pieces = extended(tokenizer, words)
    first = tokenizer.vocab_size
    _add_rows(model, first, pieces)
    every, inside = cuts(wider, some)
    told |= {"added": len(words), "after": _figures(every, inside)}
    judged = inside if inside.words else every
    log.info("vocabulary: %d words added, now %.2f tokens a word of %s", len(words), judged.fertility, what)
    return wider, [*range(first, first + len(words))], told


def _figures(every: "Cut", inside: "Cut") -> Told:
    found = {"tokens_per_word": every.fertility, "unknown_rate": every.unknown_rate}
    return found | ({"tokens_per_word_in_spans": inside.fertility} if inside.words else {})


def _without_placeholders(note: Document) -> str:
    text = note.text
    filled = map(tuple, note.meta.get(FILLED, ()))  # lists, where the note was read back from disk
    for start, end in sorted([*placeholders(text), *filled], reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return text


def _add_rows(model: Any, first: int, pieces: list[list[int]]) -> None:
    """Make room for new ids from `first` on, each row the mean of those of its pieces, and so its bias."""
    import torch

    rows = max(first + len(pieces), model.get_input_embeddings().weight.shape[0])
    model.resize_token_embeddings(rows, mean_resizing=False)
    held = {id(weight): weight for module in (model.get_input_embeddings(), model.get_output_embeddings())
            if module is not None for weight in module.parameters()}  # fmt: skip
    with torch.no_grad():
        for weight in held.values():
            for number, ids in enumerate(pieces):
                weight[first + number] = weight[ids].mean(dim=0)
