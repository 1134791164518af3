"""Builders of tiny tokenizers and models, in a second, offline; the same every time, but for the unigram vocabulary."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

BERT = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
ROBERTA = {"unk": "<unk>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "mask": "<mask>"}
TOKENIZER_OF = {
    "bert": "wordpiece",
    "electra": "wordpiece",
    "roberta": "bytebpe",
    "modernbert": "bytebpe",
    "deberta_v2": "unigram",
}
TEXT = """patient presents with fever cough chest pain and shortness of breath denies nausea vomiting history
hypertension diabetes mellitus type 2 started on metformin 500 mg twice daily aspirin 81 mg lisinopril 10 mg
blood pressure 120/80 heart rate 72 temperature 38.5 no known allergies follow up in 2 weeks Dr. Smith café
naïve Assessment: Plan: Medications: CT of the abdomen showed a 3 cm mass; biopsy [**Name**] ___ (positive)."""


def sentences(count: int = 400) -> list[str]:
    """Clinical-looking lines, the same at every call."""
    draw = random.Random(0)
    return [" ".join(draw.choices(TEXT.split(), k=12)) for _ in range(count)]


def tiny_tokenizer(kind: str, folder: Path) -> Path:
    """Train a "wordpiece" (BERT), "bytebpe" (RoBERTa) or "unigram" (DeBERTa-v3) tokenizer and save it in `folder`."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    names = ROBERTA if kind == "bytebpe" else BERT
    rust = {"wordpiece": _wordpiece, "bytebpe": _bytebpe, "unigram": _unigram}[kind](names)
    first, last = ((names[k], rust.token_to_id(names[k])) for k in ("cls", "sep"))
    if kind == "bytebpe":
        rust.post_processor = processors.RobertaProcessing(last, first, add_prefix_space=False)
    else:
        rust.post_processor = processors.TemplateProcessing(
            single=f"{first[0]} $A {last[0]}",
            pair=f"{first[0]} $A {last[0]} $B {last[0]}",
            special_tokens=[first, last],
        )
    hf = PreTrainedTokenizerFast(
        tokenizer_object=rust, model_max_length=64, **{f"{k}_token": token for k, token in names.items()}
    )
    hf.save_pretrained(folder)
    return folder


def _wordpiece(names: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def made(model: Any) -> Any:
        rust = Tokenizer(model)
        rust.normalizer = normalizers.BertNormalizer()
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.decoder = decoders.WordPiece()
        return rust

    trained = made(models.WordPiece(unk_token=names["unk"]))
    letters = sorted({letter for text in sentences() for letter in trained.normalizer.normalize_str(text)} - {" "})
    inside = [f"##{letter}" for letter in letters]  # named in order: the trainer's own order differs by process
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=[*names.values(), *inside], initial_alphabet=letters, show_progress=False
    )
    trained.train_from_iterator(sentences(), trainer)
    return made(models.WordPiece(trained.get_vocab(), unk_token=names["unk"]))


def _bytebpe(names: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(sentences(), trainer)
    return rust


def _unigram(names: dict[str, str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    rust = Tokenizer(models.Unigram())
    rust.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(names.values()), unk_token=names["unk"], show_progress=False
    )
    rust.train_from_iterator(sentences(), trainer)
    return rust


def builder(folder_of: Callable[[str], Path], spread: float = 0.02) -> Callable[[str], Path]:
    """Give a kind of tokenizer or model, get its folder; each is built once and must not be changed."""

    @cache
    def get(kind: str) -> Path:
        folder = folder_of(kind)
        return tiny_model(kind, folder, spread) if kind in TOKENIZER_OF else tiny_tokenizer(kind, folder)

    return get


def tiny_model(kind: str, folder: Path, spread: float = 0.02) -> Path:
    """Save a random masked-LM encoder (2 layers, 32 wide, 2 heads) of a kind in TOKENIZER_OF with its tokenizer.

    `spread` is the standard deviation of weights: with the usual one, made for wide layers, one token hardly tells of
    another, and training is slow to change that.
    """
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    tiny_tokenizer(TOKENIZER_OF[kind], folder)
    hf = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    settings: dict[str, Any] = {
        "vocab_size": len(hf),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 130 if kind == "roberta" else 128,  # RoBERTa counts positions from 2
        "initializer_range": spread,
        "pad_token_id": hf.pad_token_id,
        "bos_token_id": hf.cls_token_id,
        "eos_token_id": hf.sep_token_id,
    }
    settings |= {
        "electra": {"embedding_size": 16},
        "roberta": {"type_vocab_size": 1},
        "deberta_v2": {
            "relative_attention": True, "position_buckets": 32, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
        },
        "modernbert": {
            "cls_token_id": hf.cls_token_id, "sep_token_id": hf.sep_token_id, "global_attn_every_n_layers": 2,
            "local_attention": 16,
        },
    }.get(kind, {})  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        name = kind.replace("_", "-") if kind == "deberta_v2" else kind
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(name, **settings))
    model.save_pretrained(folder)
    return folder
