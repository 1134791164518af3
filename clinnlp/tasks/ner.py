"""Named entity recognition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.chain import chain_confidence, chain_loss, decode_chain, legal_pairs
from clinnlp.encode.packing import inner, pad_rows
from clinnlp.encode.tags import Alignment, carried, confidence, decode_many, forgotten, spans_to_tags, tags_to_spans
from clinnlp.encode.tokens import NoteTokenizer, Tokens, units
from clinnlp.errors import ConfigError
from clinnlp.evaluation.calibration import Calibration, calibrate, fit_calibration, uncalibrate
from clinnlp.formats.conll import ILLEGAL
from clinnlp.tasks.base import PARTS, Answers, Example, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.evaluation.calibration_report import BeforeAndAfter


TRANSITIONS = "clinnlp_transitions"


@dataclass(frozen=True)
class Ner(Task):
    """Find flat entities: one BIO tag per word by a linear layer, read by constrained Viterbi decoding.

    With `crf` the chain of tags is trained as a whole (Lafferty et al. 2001; Lample et al. 2016). The first token of
    each word carries its tag (Devlin et al. 2019). Nested, crossing and discontinuous spans cannot be held by a flat
    scheme: they are counted, and scored as missed.
    """

    model_class: ClassVar[str] = "AutoModelForTokenClassification"
    dev_score: ClassVar[str] = "entity.strict.micro.f1"
    pipeline: ClassVar[str] = "token-classification"

    trained_tokens: Literal["first", "all"] = "first"
    """Tokens of a word that are trained on its tag; all for models that transformers.pipeline is to read as well,
    whose simple aggregation takes every token at its word. clinnlp reads the first in both cases."""
    crf: bool = False
    """Learn which tag follows which, in a conditional random field over the words of a window; they are read over the
    whole note. Slower in training."""
    transitions: tuple[tuple[float, ...], ...] = ()
    """The learned scores of a tag (column) after another (row); taken from the model's weights, written by export."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of spans become probabilities of being right; fitted on the dev split at the end of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crf and self.trained_tokens != "first":
            raise ConfigError(
                "a chain of tags runs over words, not over all their tokens",
                where="task.trained_tokens",
                next="leave it out, or --task.crf false",
            )

    def gold_labels(self, document: Document) -> Iterable[str]:
        return (span.label for span in document.spans)

    def outputs(self, schema: LabelSchema) -> tuple[str, ...]:
        return schema.tags

    def head_config(self, schema: LabelSchema) -> dict[str, Any]:
        """With a table of transitions beside the head, where there is a chain."""
        parts = {PARTS: {TRANSITIONS: [schema.tag_count, schema.tag_count]}} if self.crf else {}
        return {**super().head_config(schema), **parts}

    def ready(self, model: "torch.nn.Module") -> "Ner":
        """With the transitions of the model, where there is a chain and they are not known yet."""
        if not self.crf or self.transitions:
            return self
        table = _transitions(model).detach().float().cpu()
        return replace(self, transitions=tuple(map(tuple, table.tolist())))

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per window; only tokens the window owns are targets, so that each counts once.

        Tokens in the `untold` stretches of a document are no targets.
        """
        examples: list[Example] = []
        ledger = Alignment()
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            tags, alignment = spans_to_tags(document, tokens, units(document.text, tokens), schema)
            ledger += alignment
            if self.trained_tokens == "all":
                tags = carried(tags)
            tags = forgotten(tags, tokens, document)
            for row in self.cut(document, tokens, tokenizer):
                targets = np.full(len(row.ids), -100, dtype=np.int64)
                targets[row.owned] = tags[row.window.own_first : row.window.own_last]
                if (targets != -100).any():
                    examples.append(Example((row,), targets))
        return examples, ledger

    def classes(self, example: Example) -> frozenset[int]:
        """The labels of the entities in a window."""
        return frozenset(int(tag - 1) // 2 for tag in np.unique(example.targets) if tag > 0)

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids`, `attention_mask` and `labels`, all (B, S)."""
        import torch

        rows = [example.rows[0].ids for example in examples]
        return {
            "input_ids": torch.from_numpy(pad_rows(rows, pad_id)),
            "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)),
            "labels": torch.from_numpy(pad_rows([example.targets for example in examples], -100)),
        }

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of the tags, or of the chains of tags of whole windows, over `items` tagged tokens."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch.pop("labels")
        logits = model(**batch).logits  # (B, S, C)
        if self.crf:
            return torch.div(_chain_loss(logits, labels, _transitions(model)), items)
        total = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100)
        return torch.div(total, items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """Join the owned tokens of all windows, then read the tags of the whole note once; scores are calibrated."""
        marks, _, decoded, sure = self.read(documents, tokens, answers, schema)
        found: list[Document] = []
        for document, t, note, mark, chosen, chances in zip(
            documents, tokens, answers, marks, decoded, sure, strict=True
        ):
            tags = np.full(len(t.ids), -100, dtype=np.int16)
            tags[mark] = chosen
            scores = np.zeros(len(t.ids), dtype=np.float32)
            scores[mark] = chances
            spans = _with_window(tags_to_spans(document.text, t, mark, tags, schema, scores), t, note)
            meta = {name: held for name, held in document.meta.items() if name != ILLEGAL}  # of the tags in the file
            found.append(replace(document, spans=spans, labels=(), meta=meta))
        return calibrate(found, self.calibration)

    def read(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> tuple[list[Any], list[Any], Sequence[Any], list[Any]]:
        """Of each note which tokens are units (T,), and of its units logits (U, C), tags (U,) and their probability.

        The probability is raw; where there is a chain, it is that of the tag among all sequences of tags.
        """
        marks = [units(document.text, t) for document, t in zip(documents, tokens, strict=True)]
        nothing = np.zeros((0, schema.tag_count), np.float32)
        joined = [
            np.concatenate([nothing, *(logits[row.owned] for row, logits in note)])[mark]
            for note, mark in zip(answers, marks, strict=True)
        ]
        if self.crf:
            decoded = decode_chain(joined, self.transitions, schema)
            return marks, joined, decoded, list(chain_confidence(joined, decoded, self.transitions, schema))
        decoded = decode_many(joined, schema)
        return marks, joined, decoded, [confidence(one, chosen) for one, chosen in zip(joined, decoded, strict=True)]

    def perfect(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> Sequence[Document]:
        """The spans that tags of this tokenizer can hold."""
        found: list[Document] = []
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            mark = units(document.text, tokens)
            known = replace(document, spans=tuple(s for s in document.spans if s.label in schema.labels))
            tags, _ = spans_to_tags(known, tokens, mark, schema)
            found.append(replace(document, spans=tags_to_spans(document.text, tokens, mark, tags, schema)))
        return found

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "Ner":
        """The calibration of span scores with the least log loss on the dev split."""
        raw = uncalibrate(predicted, self.calibration)
        return replace(self, calibration=fit_calibration(gold, raw))

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of spans are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(gold, predicted, self.calibration, seed=seed)


def _transitions(model: "torch.nn.Module") -> "torch.Tensor":
    """The table of a model, which may be wrapped: asked by its rows, as peft's copy of a head answers."""
    import torch

    table: Any = getattr(inner(model), TRANSITIONS)
    size = inner(model).config.num_labels
    found: torch.Tensor = table(torch.arange(size, device=next(model.parameters()).device))
    return found


def _chain_loss(logits: "torch.Tensor", labels: "torch.Tensor", transitions: "torch.Tensor") -> "torch.Tensor":
    """The loss of the chain of tagged tokens in each row, whatever untagged ones stand between them."""
    import torch

    told = labels != -100
    order = torch.sort(~told, dim=1, stable=True).indices[:, : max(int(told.sum(dim=1).max()), 1)]
    tags = labels.gather(1, order)
    chains = logits.gather(1, order[..., None].expand(-1, -1, logits.shape[2]))
    legal = torch.from_numpy(legal_pairs(logits.shape[2])).to(logits.device)
    return chain_loss(chains, tags, transitions, legal)


def _with_window(spans: Sequence[Span], tokens: Tokens, answers: Answers) -> tuple[Span, ...]:
    """The spans with the number of the window that owns their first token, as the attribute `window`."""
    ends = np.cumsum([row.window.own_last - row.window.own_first for row, _ in answers])
    firsts = np.searchsorted(tokens.offsets[:, 0], [span.start for span in spans], side="right") - 1
    owners = np.searchsorted(ends, firsts, side="right")
    return tuple(replace(span, attributes={"window": int(owner)}) for span, owner in zip(spans, owners, strict=True))
