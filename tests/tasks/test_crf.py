"""Entities by a chain of tags: what is trained, what a model folder holds of it, and who reads it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.chain import chain_loss, legal_pairs
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError, IntegrityError
from clinnlp.labeling.predict import predict
from clinnlp.models.folder import Card, weights_sha256
from clinnlp.models.load import Base, Trained, load_trained
from clinnlp.strategies.base import head_names
from clinnlp.strategies.lora import Lora
from clinnlp.tasks.ner import TRANSITIONS, Ner

Tiny = Callable[[str], Path]
SCHEMA = LabelSchema(("A", "B"))
CRF = Ner(window=16, overlap=4, crf=True)
TEXT = "fever and cough with chest pain, denies nausea; on hydrochlorothiazide for hypertension"
NOTE = Document("1", TEXT, (Span(0, 5, "A"), Span(21, 31, "B"), Span(51, 70, "A")))


def fresh(tiny: Tiny, task: Ner = CRF, lora: bool = False) -> Trained:
    """A model with transitions that are not zero, as after training."""
    base = Base(str(tiny("bert")))
    torch.manual_seed(0)
    model: Any = base.model(task.model_class, task.head_config(SCHEMA))[0]
    if lora:
        model = Lora().apply(model)
    card = Card(task, SCHEMA, base.source, weights_sha256(tiny("bert")))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if TRANSITIONS in name and weight.requires_grad:
                weight.copy_(torch.arange(25.0).reshape(5, 5) / 10 - 1)
    return Trained(model.eval(), NoteTokenizer.load(tiny("bert")), task, SCHEMA, card)


def saved(trained: Trained, folder: Path) -> Path:
    model: Any = trained.model
    model.save_pretrained(folder)
    if hasattr(model, "peft_config"):
        model.get_base_model().config.save_pretrained(folder)
    trained.tokenizer.save(folder)
    trained.card.write(folder)
    return folder


def said(trained: Trained) -> Any:
    return [document.spans for document in predict(trained, [NOTE])]


def test_transitions_are_part_of_the_head(tiny: Tiny) -> None:
    model: Any = Base(str(tiny("bert"))).model(CRF.model_class, CRF.head_config(SCHEMA))[0]
    assert TRANSITIONS in head_names(model)
    assert (model.clinnlp_transitions.weight == 0).all(), "it begins as the linear head"


@pytest.mark.parametrize("lora", [False, True])
def test_a_folder_holds_them_and_decoding_reads_them(lora: bool, tiny: Tiny, tmp_path: Path) -> None:
    trained = fresh(tiny, lora=lora)
    loaded = load_trained(saved(trained, tmp_path / "model"))
    wanted = (torch.arange(25.0).reshape(5, 5) / 10 - 1).tolist()
    assert np.allclose(loaded.task.ready(loaded.model).transitions, wanted)
    assert loaded.task.transitions == (), "they stand among the weights alone"
    assert [s.key for s in said(loaded)[0]] == [s.key for s in said(trained)[0]]
    linear = replace(loaded, task=replace(CRF, transitions=((0.0,) * 5,) * 5))
    assert said(linear) != said(loaded), "they change what is said"


def test_plain_transformers_loads_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForTokenClassification

    trained = fresh(tiny)
    folder = saved(trained, tmp_path / "model")
    ids = torch.arange(5, 15)[None]
    with torch.inference_mode():
        wanted = trained.model(input_ids=ids).logits
        found = AutoModelForTokenClassification.from_pretrained(folder).eval()(input_ids=ids).logits
        AutoModel.from_pretrained(folder)(input_ids=ids)
    assert torch.equal(found, wanted)


def test_a_folder_without_them_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved(fresh(tiny), tmp_path / "model")
    held = load_file(folder / "model.safetensors")
    held.pop(f"{TRANSITIONS}.weight")
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=rf"1 weights are missing, {TRANSITIONS}\.weight first"):
        load_trained(folder)


def test_training_goes_on_from_them_and_a_linear_head_drops_them(tiny: Tiny, tmp_path: Path) -> None:
    folder = saved(fresh(tiny), tmp_path / "model")
    again, new = Base(str(folder)).model(CRF.model_class, CRF.head_config(SCHEMA))
    assert new == [] and again.get_parameter(f"{TRANSITIONS}.weight")[0, 0] == -1
    linear, _ = Base(str(folder)).model(Ner.model_class, Ner().head_config(SCHEMA))
    assert not hasattr(linear, TRANSITIONS) and not hasattr(linear.config, "clinnlp_parts")
    masked, _ = Base(str(folder)).model("AutoModelForMaskedLM")
    assert not hasattr(masked, TRANSITIONS)


def test_the_loss_is_that_of_the_chains_of_words_in_each_window(tiny: Tiny) -> None:
    """Tokens that carry no tag stand between the words: the chain runs over the words alone."""
    trained = fresh(tiny)
    examples, _ = CRF.examples([NOTE], trained.tokenizer, SCHEMA)
    assert len(examples) > 1
    batch = CRF.collate(examples, 0)
    weight = trained.model.get_parameter(f"{TRANSITIONS}.weight")
    wanted = 0.0
    with torch.no_grad():
        for example in examples:
            ids = torch.from_numpy(example.rows[0].ids.astype(np.int64))[None]
            told = torch.from_numpy(example.targets != -100)
            logits = trained.model(input_ids=ids).logits[:, told]
            tags = torch.from_numpy(example.targets)[None][:, told]
            wanted += float(chain_loss(logits, tags, weight, torch.from_numpy(legal_pairs(5))))
        assert float(CRF.loss(trained.model, batch, 1)) == pytest.approx(wanted, rel=1e-5)


def test_a_chain_over_all_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.trained_tokens: a chain of tags runs over words"):
        Ner(crf=True, trained_tokens="all")
