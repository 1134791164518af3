"""Several models in one pass: notes are read, tokenized and cut once, and an encoder that models share runs once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.engines.base import Engine, batches, plain_runner, run_by
from clinnlp.engines.torch import Torch
from clinnlp.labeling.model import ModelFolder, Predict, finite
from clinnlp.labeling.output import TOGETHER
from clinnlp.labeling.predict import NO_TOKENS, Reading
from clinnlp.models.load import Runner, Trained, load_trained

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Together:
    """Model folders with names as one model, whose spans and labels tell which of them said so.

    With `spans_of` models of attributes say them of the spans that the model of this name finds.
    """

    models: tuple[ModelFolder, ...]
    spans_of: str | None = None

    @property
    def marks_spans(self) -> bool:
        """Whether one of them answers with attributes of spans."""
        return any(model.marks_spans for model in self.models)

    @property
    def reads_spans(self) -> bool:
        """Whether what one of them says hangs on the spans that notes come with, and not on those of another."""
        return any(model.reads_spans and not (self.spans_of and model.marks_spans) for model in self.models)

    def fingerprint(self) -> dict[str, str]:
        """That of every model, by name, and their order."""
        parts = {"models": ",".join(model.name for model in self.models)}
        for model in self.models:
            parts |= model.fingerprint()
        return parts

    def load(self) -> Predict:
        """All models on this machine."""
        members = [Member.load(model) for model in self.models]
        groups = alike(members)
        for group in groups:
            share([members[number] for number in group])
        names = [member.name for member in members]
        source = names.index(self.spans_of) if self.spans_of else None

        def predict(documents: Sequence[Document], batch_tokens: int) -> list[Document]:
            said = predict_together(members, groups, documents, batch_tokens, source)
            return [
                joined(document, dict(zip(names, each, strict=True)))
                for document, *each in zip(documents, *said, strict=True)
            ]

        return predict


@dataclass(frozen=True)
class Member:
    """One of the models: what runs it, and the torch module that answers, if one does."""

    name: str
    trained: Trained
    engine: Engine
    run: Runner
    module: "torch.nn.Module | None"

    @classmethod
    def load(cls, folder: ModelFolder) -> "Member":
        """A model folder on this machine; logits that are no numbers raise LogitsError."""
        engine = folder.runs_on()
        trained = run_by(load_trained(folder.folder, folder.base), engine)
        run = trained.runner or plain_runner(trained)
        module = trained.model if isinstance(engine, Torch) else getattr(run, "model", None)
        return cls(folder.name, trained, engine, finite(run), module)


def alike(members: Sequence[Member]) -> list[list[int]]:
    """The models, by number, in groups that give the same rows to the same engine."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, member in enumerate(members):
        task = member.trained.task
        key = (member.trained.tokenizer.identity, type(task).cut, task.cut_rule, member.engine)
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def predict_together(
    members: Sequence[Member], groups: Sequence[Sequence[int]], documents: Sequence[Document], batch_tokens: int,
    source: int | None = None,
) -> list[list[Document]]:  # fmt: skip
    """What each model says of the documents of one chunk.

    Rows are cut into the batches that each model would make by itself, and a batch is answered by all models of a group
    before the next one comes. With `source` the spans of that model get the attributes that others say of them, in
    place of those that the documents come with.
    """
    said: dict[int, list[Document]] = {}
    later: list[tuple[int, Reading, list[Any]]] = []
    readings: dict[object, Reading] = {}
    for group in groups:
        first = members[group[0]]
        task = first.trained.task
        key = (first.trained.tokenizer.identity, type(task).cut, task.cut_rule)
        if key not in readings:
            readings[key] = Reading.of(first.trained, documents)
        reading, rows = readings[key], readings[key].ids
        answers: dict[int, list[Any]] = {number: [None] * len(rows) for number in group}
        for batch in batches([len(row) for row in rows], batch_tokens, isinstance(first.engine, Torch)):
            given = [rows[index] for index in batch]
            for number in group:
                for index, answer in zip(batch, members[number].run(given, batch_tokens), strict=True):
                    answers[number][index] = answer
        for number in group:
            if source is not None and members[number].trained.task.marks_spans:
                later.append((number, reading, answers[number]))
            else:
                said[number] = reading.decode(members[number].trained, answers[number])
    for number, reading, found in sorted(later, key=lambda one: one[0]):
        assert source is not None
        said[source] = replace(reading, documents=said[source]).decode(members[number].trained, found)
        said[number] = [replace(document, spans=()) for document in said[source]]
    return [said[number] for number in range(len(members))]


def joined(document: Document, said: Mapping[str, Document]) -> Document:
    """One document with the spans and labels of all models.

    A span has its model as an attribute; the models and scores of labels stand in `meta`, in their order.
    """
    spans = [replace(s, attributes={**s.attributes, "model": name}) for name, one in said.items() for s in one.spans]
    labels = [(name, label, one) for name, one in said.items() for label in one.labels]
    scored = [(name, one.meta.get("label_scores", {}).get(label)) for name, label, one in labels]
    meta: dict[str, Any] = {TOGETHER: scored}
    if all(NO_TOKENS in one.meta for one in said.values()):
        meta[NO_TOKENS] = True
    return replace(
        document, spans=tuple(spans), labels=tuple(label for _, label, _ in labels), meta={**document.meta, **meta}
    )


def share(members: Sequence[Member]) -> int:
    """Hold equal weights once, and run equal encoders once; returns how many encoders are left to run.

    For models that are given the same batches, in this order. One whose encoder is that of an earlier one is given what
    that one said last, and has only its head to run.
    """
    owners: list[Member] = []
    for member in members:
        if member.module is None:
            owners.append(member)
            continue
        same = (one for one in owners if one.module is not None and _same_encoder(one, member))
        if (owner := next(same, None)) is not None:
            _listen(owner.module, member.module)
            continue
        for owner in owners:
            _share_weights(owner.module, member.module)
        owners.append(member)
    return len(owners)


def _same_encoder(one: Member, other: Member) -> bool:
    """Whether two models say the same below their heads; packed ones must have heads of one kind."""
    mine, its = _encoder(one.module), _encoder(other.module)
    if not isinstance(one.engine, Torch) and type(one.module) is not type(other.module):
        return False
    return mine.keys() == its.keys() and all(_equal(mine[name], its[name]) for name in mine)


def _encoder(module: Any) -> dict[str, "torch.Tensor"]:
    """The weights below the head: a pooler is part of the head."""
    weights = module.base_model.named_parameters()
    return {name: weight for name, weight in weights if not name.startswith("pooler.")}


def _equal(one: "torch.Tensor", other: "torch.Tensor") -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)


def _share_weights(owner: Any, module: Any) -> None:
    """Let a model use the weights of another where they are equal."""
    held = dict(owner.named_parameters()) if owner is not None else {}
    for name, weight in module.named_parameters():
        if name in held and _equal(held[name], weight):
            weight.data = held[name].data


def _listen(owner: Any, module: Any) -> None:
    """Put what the encoder of `owner` said last in the place of the encoder of `module`."""
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    last: list[Any] = [None]
    echo: Any = torch.nn.Module()
    echo.pooler = getattr(module.base_model, "pooler", None)

    def keep(encoder: Any, rows: Any, output: Any) -> None:
        last[0] = output[0]

    def say() -> Any:
        pooled = echo.pooler(last[0]) if echo.pooler is not None else None
        return BaseModelOutputWithPooling(last_hidden_state=last[0], pooler_output=pooled)

    echo.forward = lambda *rows, **given: say()
    owner.base_model.register_forward_hook(keep)
    setattr(module, module.base_model_prefix, echo)
