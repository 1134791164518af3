"""What every fine-tuning task keeps to; a new file in clinnlp/tasks is tested without editing this one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clinnlp import config, plugins
from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import spans_to_tags
from clinnlp.encode.tokens import NoteTokenizer, units
from clinnlp.errors import ConfigError, DataError, IntegrityError
from clinnlp.evaluation.attributes import attribute_class
from clinnlp.models.folder import Card
from clinnlp.models.load import Base
from clinnlp.tasks.base import Row, Task
from clinnlp.training.private import Account, Patients
from clinnlp.training.settings import Privacy
from tests.tiny import TOKENIZER_OF

NAMES = plugins.names("tasks")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES), ("ner", {"crf": True}), ("note_classification", {"pooling": "attention"}),
    ("sentence_classification", {"context": False}),
]  # fmt: skip
Tiny = Callable[[str], Path]

LONG = " ".join(["patient denies nausea"] * 12) + " history of diabetes mellitus type 2 and started on metformin 500 mg"


def span(text: str, surface: str, label: str, **attributes: Any) -> Span:
    start = text.index(surface)
    return Span(start, start + len(surface), label, attributes=attributes)


def documents() -> list[Document]:
    """Notes that every task finds gold in: spans, some with attributes, one class each."""
    short = "fever and chest pain"
    return [
        Document(
            "1",
            LONG,
            (
                span(LONG, "diabetes mellitus type 2", "PROBLEM", experiencer="other"),
                span(LONG, "metformin", "DRUG"),
            ),
            ("chronic",),
        ),
        Document(
            "2",
            short,
            (span(short, "fever", "PROBLEM", negated=True), span(short, "chest pain", "PROBLEM")),
            ("acute",),
        ),
        Document("3", "aspirin", (Span(0, 7, "DRUG"),), ("acute",)),
    ]


def prepared(name: str, **options: Any) -> tuple[Task, LabelSchema]:
    task = plugins.find("tasks", name)(**options).resolve(documents())
    return task, task.schema(documents())


def model_for(task: Task, schema: LabelSchema, folder: Path) -> Any:
    torch.manual_seed(0)
    return Base(str(folder)).model(task.model_class, task.head_config(schema))[0]


def items(batch: dict[str, torch.Tensor]) -> int:
    """As Trainer counts them."""
    return int((batch["labels"] != -100).sum())


def test_there_are_tasks() -> None:
    assert {"ner", "note_classification"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("tasks", name)
    assert plugin.__bases__ == (Task,)
    assert plugin.__dataclass_params__.frozen
    assert 10 < len(plugins.meaning(plugin)) <= 110
    assert plugin.model_class
    assert plugin.dev_score
    changed = plugin(window=64, overlap=8)
    assert config.build(plugin, config.plain(changed)) == changed


@pytest.mark.parametrize("name", NAMES)
def test_the_model_card_names_a_pipeline_only_where_one_reads_the_model(name: str) -> None:
    task, schema = prepared(name)
    tags = [line for line in Card(task, schema, "x", "").readme().splitlines() if line.startswith("pipeline_tag")]
    assert tags == {"ner": ["pipeline_tag: token-classification"],
                    "note_classification": ["pipeline_tag: text-classification"]}.get(name, [])  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_window_that_cannot_advance_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"task\.window: a window of 64 tokens cannot overlap by 63"):
        plugins.find("tasks", name)(window=64, overlap=63)


@pytest.mark.parametrize("name", NAMES)
def test_data_without_gold_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"data\.train: the training data holds no labels for"):
        plugins.find("tasks", name)().schema([Document("1", "fever")])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_steps_lower_the_loss(name: str, kind: str, tiny: Tiny) -> None:
    task, schema = prepared(name, window=16, overlap=4)
    tokenizer = NoteTokenizer.load(tiny(kind))
    model = model_for(task, schema, tiny(kind)).eval()
    examples, _ = task.examples(documents(), tokenizer, schema)
    batch = task.collate(examples, tokenizer.pad_id)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):
        loss = task.loss(model, dict(batch), items(batch))
        assert loss.dtype == torch.float32
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_loss_is_the_same_however_a_step_is_divided(name: str, options: dict[str, Any], tiny: Tiny) -> None:
    task, schema = prepared(name, window=16, overlap=4, **options)
    tokenizer = NoteTokenizer.load(tiny("bert"))
    model = model_for(task, schema, tiny("bert")).eval()
    examples, _ = task.examples(documents(), tokenizer, schema)
    whole = task.collate(examples, tokenizer.pad_id)
    count = items(whole)
    with torch.no_grad():
        together = float(task.loss(model, dict(whole), count))
        parts = [task.collate(part, tokenizer.pad_id) for part in (examples[:1], examples[1:])]
        assert sum(items(part) for part in parts) == count
        assert abs(sum(float(task.loss(model, part, count)) for part in parts) - together) < 1e-6
        assert together > 0


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_patient_is_clipped_as_one_however_its_rows_are_read(name: str, options: dict[str, Any], tiny: Tiny) -> None:
    task, schema = prepared(name, window=16, overlap=4, **options)
    tokenizer = NoteTokenizer.load(tiny("bert"))
    model = model_for(task, schema, tiny("bert")).eval()
    examples, _ = task.examples(documents(), tokenizer, schema)
    whole = task.collate(examples, tokenizer.pad_id)
    task.loss(model, dict(whole), items(whole)).backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    norm = float(torch.stack([grad.norm() for grad in expected.values()]).norm())
    for clip, factor in ((2 * norm, 1.0), (norm / 4, 0.25)):
        account = Account(Privacy(noise=1.0, clip=clip, rate=1.0), patients=1, steps=1, noise=0.0)
        Patients([examples], task, tokenizer.pad_id, 1, account, (1, 2)).gradient(model, 0)
        for name, grad in expected.items():
            assert torch.allclose(model.get_parameter(name).grad, factor * grad, atol=1e-5), name


Oracle = Callable[[Document, NoteTokenizer, Sequence[Row], LabelSchema], list[NDArray[Any]]]


def tag_oracle(d: Document, tokenizer: NoteTokenizer, rows: Sequence[Row], schema: LabelSchema) -> list[NDArray[Any]]:
    """Logits (S, C) of a model that knows the gold tags of its owned tokens and talks nonsense elsewhere."""
    tokens = tokenizer.encode(d.text)
    tags, _ = spans_to_tags(d, tokens, units(d.text, tokens), schema)
    answers = []
    for number, row in enumerate(rows):
        logits = np.random.default_rng(number).normal(size=(len(row.ids), schema.tag_count)).astype(np.float32) * 50
        owned = np.maximum(tags[row.window.own_first : row.window.own_last], 0)
        logits[row.owned] = 10 * np.eye(schema.tag_count, dtype=np.float32)[owned]
        answers.append(logits)
    return answers


def class_oracle(d: Document, tokenizer: NoteTokenizer, rows: Sequence[Row], schema: LabelSchema) -> list[NDArray[Any]]:
    """Logits (L,) of a model that knows the gold classes."""
    known = np.array([10.0 if label in d.labels else -10.0 for label in schema.labels], np.float32)
    return [known for _ in rows]


def pair_oracle(d: Document, tokenizer: NoteTokenizer, rows: Sequence[Row], schema: LabelSchema) -> list[NDArray[Any]]:
    """Logits (S, C) of a model that says every gold span that lies in its window, whether it owns it or not."""
    size, labels = 64, len(schema.labels)
    answers = []
    for row in rows:
        logits = np.zeros((len(row.ids), 2 * size + 2 * labels), np.float32)
        logits[:, 2 * size :] = -50
        places = [word_places(d, tokenizer, s) for s in d.spans]
        held = [(a, b, s) for (a, b), s in zip(places, d.spans, strict=True) if within(a, b, row)]
        for number, (a, b, s) in enumerate(held):
            first, last = (place - row.window.first + row.before for place in (a, b))
            slow = 2 * (31 - number)  # the dimensions that hardly turn
            logits[first, slow] = logits[last, size + slow] = (8 * 60) ** 0.5
            logits[first, 2 * size + schema.index(s.label)] = logits[
                last, 2 * size + labels + schema.index(s.label)
            ] = -5
        answers.append(logits)
    return answers


def word_places(d: Document, tokenizer: NoteTokenizer, s: Span) -> tuple[int, int]:
    """The first tokens of the first and of the last word of a span."""
    tokens = tokenizer.encode(d.text)
    firsts = np.flatnonzero(units(d.text, tokens))
    inside = firsts[(tokens.offsets[firsts, 0] >= s.start) & (tokens.offsets[firsts, 0] < s.end)]
    return int(inside[0]), int(inside[-1])


def within(a: int, b: int, row: Row) -> bool:
    return row.window.first <= a and b < row.window.last


def can_be_found(name: str, d: Document, tokenizer: NoteTokenizer, rows: Sequence[Row]) -> Document:
    """The gold that the windows leave within reach: of nested entities only what one of them holds as a whole."""
    if name != "nested_ner":
        return d
    held = [s for s in d.spans if any(within(*word_places(d, tokenizer, s), row) for row in rows)]
    return replace(d, spans=tuple(held))


def stretch_oracle(
    d: Document, tokenizer: NoteTokenizer, rows: Sequence[Row], schema: LabelSchema
) -> list[NDArray[Any]]:
    """Logits (S, C) of a model that knows the classes of the tokens of spans and talks nonsense elsewhere."""
    tokens = tokenizer.encode(d.text)
    answers = []
    for number, row in enumerate(rows):
        logits = np.random.default_rng(number).normal(size=(len(row.ids), len(schema.labels))).astype(np.float32) * 50
        for place in range(row.window.first, row.window.last):
            for s in d.spans:
                if s.start <= tokens.offsets[place, 0] < s.end:
                    known = {s.label, *(f"{name}={attribute_class(s, name)}" for name in ("negated", "experiencer"))}
                    classes = [10.0 if label in known else 0.0 for label in schema.labels]
                    logits[place - row.window.first + row.before] = classes
        answers.append(logits)
    return answers


def bare(name: str, d: Document) -> Document:
    """The document as it comes to be labeled: with no gold, but with what a task is told about."""
    if name == "sentence_classification":
        return replace(d, spans=tuple(replace(s, label="SENTENCE") for s in d.spans), labels=())
    if name == "span_attributes":
        return replace(d, spans=tuple(replace(s, attributes={}) for s in d.spans), labels=())
    return replace(d, spans=(), labels=())


ORACLES: dict[str, Oracle] = {
    "sentence_classification": stretch_oracle,
    "span_attributes": stretch_oracle,
    "ner": tag_oracle,
    "nested_ner": pair_oracle,
    "note_classification": class_oracle,
}


def test_every_task_has_an_oracle() -> None:
    assert ORACLES.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("window", "overlap"), [(8, 0), (8, 3), (13, 5), (24, 8), (40, 16), (512, 128)])
@pytest.mark.parametrize("kind", ["wordpiece", "bytebpe", "unigram"])
def test_what_the_model_knows_is_decoded_over_windows(
    name: str, window: int, overlap: int, kind: str, tiny: Tiny
) -> None:
    task, schema = prepared(name, window=window, overlap=overlap)
    tokenizer = NoteTokenizer.load(tiny(kind))
    notes = documents()
    tokens = tokenizer.encode_many([d.text for d in notes])
    answers = []
    for number, (d, t) in enumerate(zip(notes, tokens, strict=True)):
        rows = task.cut(d, t, tokenizer)
        notes[number] = can_be_found(name, d, tokenizer, rows)
        assert all(len(row.ids) <= window for row in rows)
        answers.append(list(zip(rows, ORACLES[name](d, tokenizer, rows, schema), strict=True)))
    assert len(answers[0]) > 1 or window == 512
    found = task.decode([bare(name, d) for d in notes], tokens, answers, schema)
    assert any(task.scored([d])[0].spans for d in found) or name == "note_classification"
    for gold, said in zip(notes, found, strict=True):
        assert sorted(task.gold_labels(gold)) == sorted(task.gold_labels(said))
        if name != "note_classification":
            assert [s.key for s in said.spans] == [s.key for s in gold.spans]
            assert all(0.99 < s.score <= 1 for d in task.scored([said]) for s in d.spans)
    report = task.evaluate(notes, found, schema, seed=1).as_dict()
    for key in task.dev_score.split("."):
        report = report[key]
    assert report == 1.0


def test_an_entity_across_a_window_border_is_one_entity(tiny: Tiny) -> None:
    """By hand: 18 words, windows of 6; the entity stands on words 4 to 13, over two borders."""
    task = plugins.find("tasks", "ner")(window=8, overlap=0)
    schema = LabelSchema(("PROBLEM",))
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    text = " ".join(["fever"] * 18)
    tokens = tokenizer.encode(text)
    assert len(tokens) == 18
    rows = task.cut(Document("1", text), tokens, tokenizer)
    assert [(row.window.own_first, row.window.own_last) for row in rows] == [(0, 6), (6, 12), (12, 18)]
    tags = np.zeros(18, int)
    tags[4], tags[5:14] = 1, 2
    answers = [(row, 9 * np.eye(3)[np.pad(tags[row.window.first : row.window.last], 1)]) for row in rows]
    (found,) = task.decode([Document("1", text)], [tokens], [answers], schema)
    assert [(s.start, s.end, s.label) for s in found.spans] == [(24, 83, "PROBLEM")]
    assert found.text[24:83] == " ".join(["fever"] * 10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " \n\t ", "x"], ids=["empty", "blank", "one character"])
def test_notes_of_next_to_nothing(name: str, text: str, tiny: Tiny) -> None:
    task, schema = prepared(name)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    tokens = tokenizer.encode(text)
    note = Document("1", text)
    rows = task.cut(note, tokens, tokenizer)
    assert len(rows) == len(text.strip())
    answers = list(zip(rows, ORACLES[name](note, tokenizer, rows, schema), strict=True))
    (found,) = task.decode([note], [tokens], [answers], schema)
    assert found.text == text
    sentences = text.split() if name == "sentence_classification" else []
    assert [text[s.start : s.end] for s in found.spans] == sentences


def asked(name: str, tiny: Tiny) -> tuple[Any, ...]:
    """A task, its schema, a note with its tokens, its rows, and what a perfect model answers."""
    task, schema = prepared(name)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    note = documents()[1]
    tokens = tokenizer.encode(note.text)
    rows = task.cut(note, tokens, tokenizer)
    return task, schema, note, tokens, rows, ORACLES[name](note, tokenizer, rows, schema)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_it_hangs_on_the_spans_of_a_note(name: str, tiny: Tiny) -> None:
    """A labeling run takes a note with other spans for another note only where it does."""
    task, schema, note, tokens, rows, logits = asked(name, tiny)
    answers = [list(zip(rows, logits, strict=True))]
    alike = [task.decode([one], [tokens], answers, schema)[0] for one in (note, replace(note, spans=note.spans[:1]))]
    assert (alike[0] != alike[1]) == task.reads_spans


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_answers_nan_is_not_believed(name: str, tiny: Tiny) -> None:
    task, schema, note, tokens, rows, right = asked(name, tiny)
    logits = [np.full_like(a, np.nan) for a in right]
    with pytest.raises(IntegrityError, match="NaN"):
        task.decode([note], [tokens], [list(zip(rows, logits, strict=True))], schema)


# --- named entities alone


def test_ner_targets_are_owned_once(tiny: Tiny) -> None:
    """Whatever the overlap, each unit of a note is a target in exactly one window."""
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    tokens = tokenizer.encode(LONG)
    count = int(units(LONG, tokens).sum())
    for window, overlap in [(8, 3), (16, 8), (512, 128)]:
        task, schema = prepared("ner", window=window, overlap=overlap)
        examples, ledger = task.examples(documents()[:1], tokenizer, schema)
        assert sum(int((example.targets != -100).sum()) for example in examples) == count
        assert (ledger.exact, ledger.total) == (2, 2)


# --- note classification alone


@pytest.mark.parametrize(
    ("labels", "multi"), [([("a",), ("b",)], False), ([("a", "b"), ("b",)], True), ([("a",), ()], True)]
)
def test_the_data_decide_whether_a_note_has_one_class(labels: list[tuple[str, ...]], multi: bool) -> None:
    notes = [Document(str(n), "x", labels=given) for n, given in enumerate(labels)]
    assert plugins.find("tasks", "note_classification")().resolve(notes).multi_label is multi


def test_multi_class_refuses_notes_without_exactly_one_class() -> None:
    notes = [Document("1", "x", labels=("a",)), Document("2", "x"), Document("3", "x", labels=("a", "b"))]
    with pytest.raises(DataError, match=r"data\.train: 2 of 3 notes have not exactly one label") as error:
        plugins.find("tasks", "note_classification")(multi_label=False).resolve(notes)
    assert "--task.multi_label true" in error.value.next


def test_pooling_by_hand(tiny: Tiny) -> None:
    """Two windows that disagree: their mean says b, their maximum says a."""
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    note = Document("1", " ".join(["fever"] * 12))
    tokens = tokenizer.encode(note.text)
    logits = [np.array([4.0, 1.0]), np.array([-4.0, 2.0])]
    for pooling, label, score in (("mean", "b", 1 / (1 + np.exp(-1.5))), ("max", "a", 1 / (1 + np.exp(-2.0)))):
        task = plugins.find("tasks", "note_classification")(window=8, overlap=0, pooling=pooling, multi_label=False)
        answers = list(zip(task.cut(note, tokens, tokenizer), logits, strict=True))
        (found,) = task.decode([note], [tokens], [answers], LabelSchema(("a", "b")))
        assert found.labels == (label,)
        assert found.meta["label_scores"][label] == pytest.approx(score)


def test_attention_by_hand(tiny: Tiny) -> None:
    """Weights of ln 3 and 0 are 3/4 and 1/4: label a gets 0.75 * 4 - 0.25 * 4 = 2, label b 0.75 + 0.25 * 2 = 1.25."""
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    note = Document("1", " ".join(["fever"] * 12))
    tokens = tokenizer.encode(note.text)
    task = plugins.find("tasks", "note_classification")(window=8, overlap=0, pooling="attention", multi_label=False)
    schema = LabelSchema(("a", "b"))
    assert len(task.outputs(schema)) == 3
    logits = [np.array([4.0, 1.0, np.log(3)]), np.array([-4.0, 2.0, 0.0])]
    answers = list(zip(task.cut(note, tokens, tokenizer), logits, strict=True))
    (found,) = task.decode([note], [tokens], [answers], schema)
    assert found.meta["label_scores"]["a"] == pytest.approx(1 / (1 + np.exp(-0.75)))


def test_training_pools_as_labeling_does(tiny: Tiny) -> None:
    for pooling in ("mean", "max", "attention"):
        task, schema = prepared("note_classification", window=16, overlap=4, pooling=pooling)
        tokenizer = NoteTokenizer.load(tiny("bert"))
        model = model_for(task, schema, tiny("bert")).eval()
        examples, _ = task.examples(documents()[:1], tokenizer, schema)
        with torch.no_grad():
            loss = task.loss(model, task.collate(examples, tokenizer.pad_id), 1).item()
            rows = examples[0].rows
            logits = [
                model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0].numpy() for row in rows
            ]
        assert len(rows) > 1
        answers = list(zip(rows, logits, strict=True))
        (found,) = task.decode(documents()[:1], [tokenizer.encode(LONG)], [answers], schema)
        assert loss == pytest.approx(-np.log(found.meta["label_scores"]["chronic"]), abs=1e-5)


def test_the_threshold_is_the_best_on_dev() -> None:
    """By hand: at 0.6 two of two hits (F1 0.8 of 3 gold), at 0.3 three of four (0.857), at 0.2 three of five."""
    task = plugins.find("tasks", "note_classification")(multi_label=True)
    gold = [Document("1", "x", labels=("a",)), Document("2", "x", labels=("a", "b")), Document("3", "x")]
    scores = [{"a": 0.9, "b": 0.1}, {"a": 0.6, "b": 0.3}, {"a": 0.4, "b": 0.2}]
    said = [Document(d.id, "x", meta={"label_scores": s}) for d, s in zip(gold, scores, strict=True)]
    assert task.tune(gold, said).threshold == 0.25  # midway between 0.3, which is kept, and 0.2, which is not
    assert replace(task, multi_label=False).tune(gold, said).threshold == 0.5


def test_windows_of_a_long_note_in_training_are_spread(tiny: Tiny) -> None:
    task, schema = prepared("note_classification", window=8, overlap=0, training_windows=3)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    note = replace(documents()[0], text=" ".join(["fever"] * 60), spans=())
    examples, _ = task.examples([note], tokenizer, schema)
    assert [row.window.first for row in examples[0].rows] == [0, 24, 54]
