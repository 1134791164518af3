"""What every pretraining objective keeps to; a new file in clinnlp/objectives is tested without editing this one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from clinnlp import config, plugins
from clinnlp.core.document import Document, Span
from clinnlp.encode.marks import CLOSED, ENTITY, FIXED, FRAME, INSIDE, WORD
from clinnlp.encode.packing import PackedBlocks, Rows, TokenStore, attention
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ClinnlpError, ConfigError
from clinnlp.objectives.base import Objective
from clinnlp.objectives.span_mlm import in_spans
from clinnlp.recipes._pretraining_data import block_source
from clinnlp.text.gazetteer import Gazetteer
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import BlockSource, generators
from tests.tiny import TOKENIZER_OF, sentences

NAMES = plugins.names("objectives")
MASKING = [name for name in NAMES if plugins.find("objectives", name).guesses_tokens]
WITHOUT_CHANCE = ("simcse", "supcon", "supervised")  # they read rows as they are
Tiny = Callable[[str], Path]


def load(tiny: Tiny, kind: str, objective: Objective) -> tuple[Any, NoteTokenizer]:
    model = getattr(transformers, objective.model_class).from_pretrained(tiny(kind))
    return model.eval(), NoteTokenizer.load(tiny(kind))


def noted(texts: list[str]) -> list[Document]:
    """Notes of two classes whose first words are annotated."""
    return [
        Document(str(n), text, spans=(Span(0, len(text.split()[0]), "A"),), labels=(f"class {n % 2}",))
        for n, text in enumerate(texts)
    ]


def made(name: str) -> Objective:
    """An objective with its own options, for such notes."""
    objective: Objective = plugins.find("objectives", name)()
    return objective.on(noted(sentences(12)))


def source(
    objective: Objective, tokenizer: NoteTokenizer, packed: bool = True, seed: int = 3, texts: list[str] | None = None
) -> BlockSource:
    notes = noted([" ".join(sentences(40)[n : n + 3]) for n in range(12)] if texts is None else texts)
    return block_source(objective, notes, tokenizer, 64, packed, seed)


def batch(blocks: BlockSource, indices: list[int], epoch: int = 0) -> dict[str, torch.Tensor]:
    examples = [blocks.example(Draw(epoch, index, 0.5)) for index in indices]
    return blocks.collate(examples)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def test_there_are_objectives() -> None:
    assert "mlm" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("objectives", name)
    assert plugin.__bases__ == (Objective,)
    assert plugin.__dataclass_params__.frozen
    assert 10 < len(plugins.meaning(plugin)) <= 110
    assert config.build(plugin, config.plain(plugin())) == plugin()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_loss_and_gradients_are_numbers(name: str, kind: str, tiny: Tiny) -> None:
    objective = made(name)
    model, tokenizer = load(tiny, kind, objective)
    packed = kind != "deberta_v2"
    blocks = source(objective, tokenizer, packed)
    objective.prepare(model)
    given = batch(blocks, [0, 1])
    loss = blocks.loss(model, given, int((given["labels"] != -100).sum()))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in gradients(model).values())
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in NAMES if not plugins.find("objectives", name).compares])
def test_loss_is_the_same_however_a_step_is_divided(name: str, tiny: Tiny) -> None:
    objective = made(name)
    model, tokenizer = load(tiny, "bert", objective)
    blocks = source(objective, tokenizer)
    objective.prepare(model)
    whole = batch(blocks, [0, 1, 2])
    items = int((whole["labels"] != -100).sum())
    with torch.no_grad():
        parts = sum(float(blocks.loss(model, batch(blocks, indices), items)) for indices in ([0], [1, 2]))
        assert abs(float(blocks.loss(model, whole, items)) - parts) < 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_CHANCE])
def test_randomness_depends_on_seed_epoch_and_index_alone(name: str, tiny: Tiny) -> None:
    objective = made(name)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    blocks = source(objective, tokenizer)

    def seen(order: list[int], epoch: int = 0) -> dict[int, list[int]]:
        given = batch(blocks, order, epoch)
        rows = zip(order, given["input_ids"], given["pieces"], strict=True)
        return {index: row[pieces >= 0].tolist() for index, row, pieces in rows}

    every = list(range(len(blocks.lengths)))
    forwards, backwards = seen(every), seen(every[::-1])
    assert forwards == backwards
    assert sum(forwards[index] != seen([index], epoch=1)[index] for index in every) > len(every) / 3
    blocks = source(objective, tokenizer, seed=4)
    assert seen(every) != forwards


@pytest.mark.parametrize("name", MASKING)
@pytest.mark.parametrize("packed", [True, False])
def test_frames_and_placeholders_are_never_targets_and_every_row_has_one(name: str, packed: bool, tiny: Tiny) -> None:
    objective = plugins.find("objectives", name)()
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    texts = ["fever", "___ fever [**Hospital 3**]", *sentences(6)]
    rows = source(objective, tokenizer, packed, texts=texts).blocks
    every = rows.take(range(len(rows)))
    fixed = (every.marks & (FRAME | FIXED)) != 0
    assert (every.marks & FIXED).any()
    for seed in range(20):
        made = objective.corrupt(every, tokenizer, 1.0, generators(seed, [Draw(0, n, 1.0) for n in range(len(rows))]))
        assert (made["labels"] != -100).any(axis=1).all()
        assert (made["labels"][fixed] == -100).all()
        assert (made["input_ids"][fixed] == every.ids[fixed]).all()
        hidden = made["labels"] != -100
        assert (made["labels"][hidden] == every.ids[hidden]).all()
        assert (made["input_ids"][~hidden] == every.ids[~hidden]).all()


def test_a_note_of_placeholders_alone_has_no_target_and_no_loss(tiny: Tiny) -> None:
    objective = plugins.find("objectives", "mlm")()
    model, tokenizer = load(tiny, "bert", objective)
    objective.prepare(model)
    blocks = source(objective, tokenizer, packed=False, texts=["___ ___", "fever"])
    given = batch(blocks, [0])
    assert (given["labels"] == -100).all()
    assert blocks.loss(model, given, 0).item() == 0.0


# --- masked language modelling alone


@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_mlm_head_on_masked_positions_equals_the_full_head(kind: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", "mlm")()
    model, tokenizer = load(tiny, kind, objective)
    packed = kind != "deberta_v2"
    blocks = source(objective, tokenizer, packed)

    given = batch(blocks, [0, 1])
    labels = given["labels"].clone()
    items = int((labels != -100).sum())
    extra = attention(model, given["pieces"], given["positions"], packed)
    logits = model(input_ids=given["input_ids"], **extra).logits
    full = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / items
    full.backward()
    wanted = gradients(model)
    model.zero_grad()

    objective.prepare(model)
    gathered = blocks.loss(model, given, items)
    gathered.backward()
    found = gradients(model)
    assert abs(full.item() - gathered.item()) < 1e-5
    assert found.keys() == wanted.keys()
    assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < 1e-5


def long_row(tiny: Tiny, name: str, kind: str = "wordpiece", **options: Any) -> tuple[Objective, NoteTokenizer, Rows]:
    """A row of thousands of tokens, of which some are an entity's."""
    objective = plugins.find("objectives", name)(**options)
    tokenizer = NoteTokenizer.load(tiny(kind))
    text = " lisinopril40 ".join(sentences(600))
    spans = tuple(Span(*word.span(), "A") for word in re.finditer(r"\b[a-c]\w+( [a-z]\w+)?", text))
    note = Document("1", text, spans=spans)
    store = TokenStore.of(tokenizer, [objective.mark(note)])
    return objective, tokenizer, PackedBlocks(store, tokenizer, 100_000).take([0])


def corrupted(objective: Objective, tokenizer: NoteTokenizer, rows: Rows, progress: float, seed: int = 0) -> Any:
    return objective.corrupt(rows, tokenizer, progress, [np.random.Generator(np.random.Philox(seed))])


@pytest.mark.parametrize("name", MASKING)
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.30), (0.5, 0.225), (1.0, 0.15)])
def test_the_rate_falls_from_30_to_15_percent(name: str, progress: float, share: float, tiny: Tiny) -> None:
    objective, tokenizer, rows = long_row(tiny, name)
    able = rows.marks < CLOSED
    assert able.sum() > 4000
    found = [(corrupted(objective, tokenizer, rows, progress, seed)["labels"] != -100).sum() for seed in range(8)]
    assert np.mean(found) / able.sum() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("name", MASKING)
def test_80_percent_are_masked_10_swapped_10_kept(name: str, tiny: Tiny) -> None:
    rate = 0.7 if name == "span_mlm" else 0.9
    objective, tokenizer, rows = long_row(tiny, name, rate=rate, final_rate=rate)
    masked, kept = [], []
    for seed in range(8):
        made = corrupted(objective, tokenizer, rows, 0.0, seed)
        hidden = made["labels"] != -100
        masked.append((made["input_ids"] == tokenizer.mask_id)[hidden].mean())
        kept.append((made["input_ids"] == rows.ids)[hidden].mean())
    assert np.mean(masked) == pytest.approx(0.8, abs=0.02)
    assert np.mean(kept) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("name", MASKING)
@pytest.mark.parametrize("option", ["rate", "final_rate"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_rates_that_are_no_shares_are_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"objective.{option}"):
        plugins.find("objectives", name)(**{option: value})


# --- whole words, spans and entities alone


def groups(flags: Any, begins: Any) -> list[set[bool]]:
    """What the positions of each group say; groups begin where `begins`."""
    number = np.cumsum(begins)
    return [set(flags[number == n].tolist()) for n in np.unique(number)]


@pytest.mark.parametrize("name", ["whole_word_mlm", "span_mlm"])
def test_all_tokens_of_a_word_are_hidden_or_none(name: str, tiny: Tiny) -> None:
    objective, tokenizer, rows = long_row(tiny, name, "bytebpe")
    begins = (rows.marks[0] & WORD) != 0
    assert not begins.all(), "some words are of several tokens"
    made = corrupted(objective, tokenizer, rows, 0.0)
    assert all(len(said) == 1 for said in groups(made["labels"][0] != -100, begins))
    token = plugins.find("objectives", "mlm")()
    made = corrupted(token, tokenizer, rows, 0.0)
    assert not all(len(said) == 1 for said in groups(made["labels"][0] != -100, begins))


def test_spans_are_of_one_to_ten_words_and_share_a_fate(tiny: Tiny) -> None:
    objective, tokenizer, rows = long_row(tiny, "span_mlm")
    begins = (rows.marks[0] & WORD) != 0
    sizes: list[int] = []
    for seed in range(10):
        made = corrupted(objective, tokenizer, rows, 0.0, seed)
        hidden = made["labels"][0] != -100
        edges = np.flatnonzero(np.diff(np.concatenate([[False], hidden, [False]]).astype(int)))
        for start, end in edges.reshape(-1, 2):
            closed = rows.marks[0, [start - 1, end]] >= CLOSED  # at a placeholder or the frame a span is cut short
            masked = made["input_ids"][0, start:end] == tokenizer.mask_id
            assert masked.all() or masked.mean() <= 0.5, "a random token may be the mask"
            if not closed.any():
                sizes.append(int(begins[start:end].sum()))
    assert min(sizes) == 1 and max(sizes) == 10
    assert np.mean(sizes) == pytest.approx(3.8, abs=0.2)
    counts = np.bincount(sizes)[1:]
    assert counts[0] / counts.sum() == pytest.approx(0.2 / (1 - 0.8**10), abs=0.03)


def test_the_first_words_of_a_row_are_hidden_as_often_as_others() -> None:
    chances = np.random.default_rng(0).integers(0, 2**16, (4000, 40)).astype(np.uint16)
    hidden = in_spans(chances, np.full(4000, 40), 0.15)
    assert hidden.mean(axis=0) == pytest.approx(np.full(40, 0.15), abs=0.03)


def test_half_of_what_is_hidden_is_of_entities_and_they_are_hidden_whole(tiny: Tiny) -> None:
    objective, tokenizer, rows = long_row(tiny, "entity_mlm", share=0.4)
    entity = (rows.marks[0] & (ENTITY | INSIDE)) != 0
    able = rows.marks[0] < CLOSED
    assert 0.05 < entity[able].mean() < 0.4
    inside = []
    for seed in range(8):
        hidden = corrupted(objective, tokenizer, rows, 1.0, seed)["labels"][0] != -100
        inside.append((hidden & entity).sum() / hidden.sum())
        for said in groups(hidden[entity], (rows.marks[0, entity] & ENTITY) != 0):
            assert len(said) == 1
    assert np.mean(inside) == pytest.approx(0.4, abs=0.03)


def test_entities_are_found_by_a_gazetteer(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("Chest pain\npain\n\nDiabetes-mellitus\n", encoding="utf-8")
    objective = plugins.find("objectives", "entity_mlm")(gazetteer=path)
    text = "CHEST  pain, pains; diabetes mellitus and Diabetes-\nmellitus pain"
    found = [text[a:b] for a, b in objective.mark(Document("1", text)).entities]
    assert found == ["CHEST  pain", "Diabetes-\nmellitus", "pain"]
    assert objective.files() == (path,)
    objective.on([Document("1", text)])
    with pytest.raises(ConfigError, match="the gazetteer finds none"):
        objective.on([Document("1", "fever")])


def test_entities_must_come_from_somewhere(tiny: Tiny) -> None:
    objective = plugins.find("objectives", "entity_mlm")()
    with pytest.raises(ConfigError, match="no gazetteer is given"):
        objective.on([Document("1", "fever")])
    objective.on([Document("1", "fever", spans=(Span(0, 5, "A"),))])


@pytest.mark.parametrize(
    ("content", "told"), [(b"\n \n", "holds no surface"), (b"fever\n\xff\n", "line 2 is not UTF-8")]
)
def test_a_gazetteer_that_cannot_be_used(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ClinnlpError, match=told):
        Gazetteer.read(path)
    with pytest.raises(ClinnlpError, match="cannot read"):
        Gazetteer.read(tmp_path / "absent.txt")
