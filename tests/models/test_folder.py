"""Model folders: safe to open, whole, and of the kind their card says."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from transformers import AutoModel, AutoModelForTokenClassification

from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError, IntegrityError, UnsafeError
from clinnlp.models import verify
from clinnlp.models.folder import MINI, Card, base_folder, check_base, check_folder, weights_sha256
from clinnlp.models.load import Base, load_trained, longest_row
from clinnlp.models.verify import probe_logits, verify_folder
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification
from tests.tiny import TOKENIZER_OF

Tiny = Callable[[str], Path]
SCHEMA = LabelSchema(("DRUG", "PROBLEM"))


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    """A base model that may be spoiled."""
    return Path(shutil.copytree(tiny("bert"), tmp_path / "copy"))


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """A full model folder."""
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(tiny("bert"), **Ner().head_config(SCHEMA))
    model.save_pretrained(tmp_path / "model")
    NoteTokenizer.load(tiny("bert")).hf.save_pretrained(tmp_path / "model")
    Card(Ner(window=64, overlap=8), SCHEMA, "base", "0" * 64).write(tmp_path / "model")
    return tmp_path / "model"


def spoil(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("task", [Ner(window=64, overlap=8), NoteClassification(multi_label=True, threshold=0.3)])
def test_a_card_reads_back(task: Ner | NoteClassification, tmp_path: Path) -> None:
    card = Card(task, SCHEMA, "some/base", "ab" * 32, "c" * 40)
    card.write(tmp_path)
    assert Card.read(tmp_path) == card


EVIL = (
    "`",
    "a`b",
    "``",
    "| x |",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "a\u2028# b",
    "# *c*",
    "&lt;",
)


def test_the_readme_holds_names_as_they_are_and_nothing_in_them_is_markdown(tmp_path: Path) -> None:
    Card(Ner(), LabelSchema(EVIL), "bases/mi`ni\n\n<b>x", "0" * 64).write(tmp_path)
    _, _, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    spans = [child.content for child in inline if child.type == "code_inline"]
    assert spans[: len(EVIL) + 1] == [*(label.replace("\u2028", "\\u2028") for label in EVIL), "mi`ni\\n\\n<b>x"]
    assert {child.type for child in inline} == {"text", "code_inline"}
    assert [token.tag for token in tokens if token.nesting == 1] == ["h1", "ul", *["li", "p"] * 6, "p"]


def test_a_folder_without_card_or_with_a_broken_one(folder: Path) -> None:
    card = folder / "clinnlp.json"
    spoil(card, task={"window": 64})
    with pytest.raises(IntegrityError, match=r"clinnlp\.json: not a valid card \(KeyError\)"):
        Card.read(folder)
    card.write_text("{")
    with pytest.raises(IntegrityError, match=r"not a valid card \(JSONDecodeError\)"):
        Card.read(folder)
    card.unlink()
    with pytest.raises(ConfigError, match=r"no clinnlp\.json: this folder holds no label map"):
        load_trained(folder)


def test_a_card_whose_labels_the_head_does_not_have_is_refused(folder: Path) -> None:
    spoil(folder / "clinnlp.json", labels=["DRUG", "PROBLEM", "TEST"])
    with pytest.raises(IntegrityError, match=r"of the model's head: O, .*, I-TEST; but O, .*, I-PROBLEM\."):
        load_trained(folder)


def test_a_label_map_in_another_order_is_refused(folder: Path) -> None:
    """The order is part of the model: read in another one, every DRUG would become a PROBLEM."""
    spoil(folder / "clinnlp.json", labels=["PROBLEM", "DRUG"])
    with pytest.raises(IntegrityError, match=r"the labels of clinnlp\.json are not those of the model's head"):
        load_trained(folder)


def test_a_folder_that_is_whole_loads(folder: Path) -> None:
    trained = load_trained(folder)
    assert trained.schema == SCHEMA
    assert trained.task == Ner(window=64, overlap=8)
    assert not trained.model.training


def test_missing_weights_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: w for n, w in weights.items() if "classifier" not in n}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(IntegrityError, match=r"2 weights are missing, classifier\.bias first"):
        load_trained(folder)


def test_a_base_that_lacks_encoder_weights_is_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    save_file({n: w for n, w in weights.items() if "layer.1." not in n}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(IntegrityError, match=r"encoder weights are missing, bert\.encoder\.layer\.1\."):
        Base(str(copy)).model("AutoModelForTokenClassification")


def test_a_torn_weight_file_is_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="cannot load the base model as AutoModelForMaskedLM"):
        Base(str(copy)).model("AutoModelForMaskedLM")


def test_a_tokenizer_larger_than_the_model_is_refused(tiny: Tiny) -> None:
    small, _ = Base(str(tiny("bert"))).model("AutoModelForMaskedLM")
    large = NoteTokenizer.load(tiny("bytebpe"))
    with pytest.raises(IntegrityError, match=r"the tokenizer has \d+ entries, the model \d+ embedding rows"):
        Base("x").fits(large, small)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModel": "evil.Model"}),
        ("trust_remote_code", True),
        ("text_config", [{"auto_map": {}}]),
        ("_name_or_path", "https://evil.example/model"),
        ("attn_implementation", "evil/kernel"),
        ("_attn_implementation", "evil/kernel"),
        ("text_config", {"_attn_implementation": "evil/kernel"}),
    ],
)
def test_code_in_a_folder_or_from_elsewhere_is_refused(name: str, key: str, value: object, copy: Path) -> None:
    spoil(copy / name, trust_remote_code=False, _name_or_path="some/model")
    check_folder(copy)
    spoil(copy / name, **{key: value})
    with pytest.raises(UnsafeError, match=rf"{name} asks (to run|for) code from .*") as error:
        check_folder(copy)
    assert error.value.exit_status == 8 and "evil" not in str(error.value)


def test_a_kind_of_model_that_transformers_does_not_know_is_refused(folder: Path) -> None:
    spoil(folder / "config.json", model_type="evil")
    with pytest.raises(UnsafeError, match=r"config\.json has a model_type that this transformers does not know"):
        load_trained(folder)


@pytest.mark.parametrize("file", ["../other/model.safetensors", "/etc/passwd", "model.bin", "sub/model.safetensors"])
def test_weights_in_parts_lie_in_the_folder(file: str, copy: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    check_folder(copy)
    index["weight_map"]["b"] = file
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeError, match="names 1 files that are no weights here"):
        check_folder(copy)


def test_settings_nested_without_end_are_refused(copy: Path) -> None:
    (copy / "config.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(IntegrityError, match=r"config\.json: not valid JSON"):
        check_folder(copy)


def test_pickled_weights_and_no_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UnsafeError, match=r"pytorch_model\.bin can run code when opened"):
        check_base(str(copy), None, False)
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(IntegrityError, match=r"no model weights \(\*\.safetensors\)"):
        check_base(str(copy), None, False)
    (copy / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json: not a model folder"):
        check_base(str(copy), None, False)


@pytest.mark.parametrize(
    ("name", "download", "revision", "error"),
    [
        ("some/model", False, None, "base 'some/model' is a hub name and clinnlp works offline"),
        ("some/model", True, None, "base 'some/model' has no revision of 40 hex digits"),
        ("some/model", True, "main", "base 'some/model' has no revision of 40 hex digits"),
        ("./some/model", True, "a" * 40, "no such model folder"),
        ("/some/model", True, "a" * 40, "no such model folder"),
        ("model", True, "a" * 40, "no such model folder"),
    ],
)
def test_names_that_are_not_downloaded(name: str, download: bool, revision: str | None, error: str) -> None:
    with pytest.raises((ConfigError, UnsafeError), match=error):
        check_base(name, revision, download)


def test_a_hub_name_with_permission_and_revision_is_passed_on() -> None:
    assert check_base("some/model", "a" * 40, True) == "some/model"
    assert Base("some/model", "a" * 40).sha256() == f"revision:{'a' * 40}"


def test_mini_lies_in_the_package() -> None:
    assert base_folder(MINI) == Path(__file__).parents[2] / "clinnlp" / "models" / MINI


def test_the_hash_is_of_the_weights_alone(copy: Path) -> None:
    before = weights_sha256(copy)
    (copy / "README.md").write_text("x")
    assert weights_sha256(copy) == before
    (copy / "model-2.safetensors").write_bytes(b"x")
    assert weights_sha256(copy) != before


@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_the_longest_row_can_be_read_and_a_longer_one_cannot(kind: str, tiny: Tiny) -> None:
    model = AutoModel.from_pretrained(tiny(kind)).eval()
    size = longest_row(model, 4096)
    assert size == (128 if kind != "roberta" else 130 - model.config.pad_token_id - 1)
    assert longest_row(model, 64) == 64
    with torch.inference_mode():
        assert model(input_ids=torch.full((1, size), 7)).last_hidden_state.shape[1] == size
        if kind in ("bert", "roberta", "electra"):
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, size + 1), 7))


@pytest.mark.usefixtures("fresh_process")
def test_a_fresh_process_proves_the_folder(folder: Path) -> None:
    trained = load_trained(folder)
    assert verify_folder(folder, trained) <= 1e-5
    with torch.no_grad():
        trained.model.classifier.bias += 0.1  # what was saved is not what was trained
    with pytest.raises(
        IntegrityError, match=r"the saved model answers otherwise than the trained one: logits differ by 0\.1\."
    ):
        verify_folder(folder, trained)
    (folder / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match="a fresh process cannot load the saved model"):
        verify_folder(folder, trained)


@pytest.mark.usefixtures("fresh_process")
def test_what_counts_as_the_same_answer_grows_with_the_logits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merged adapter rounds its weights: logits near 20 may differ by 1e-4, logits near 1 by 1e-5."""
    trained = load_trained(folder)
    answered = probe_logits(trained)
    for size, difference, same in ((1.0, 9e-6, True), (1.0, 2e-5, False), (20.0, 1e-4, True), (20.0, 3e-4, False)):
        wanted = answered / np.abs(answered).max() * size
        monkeypatch.setattr(verify, "probe_logits", lambda _, wanted=wanted: wanted)
        said = json.dumps((wanted + difference).ravel().tolist()).encode()
        done = subprocess.CompletedProcess([], 0, said, b"")
        monkeypatch.setattr(verify.subprocess, "run", lambda *_, done=done, **__: done)
        if same:
            assert verify_folder(folder, trained) == pytest.approx(difference, rel=0.2)
        else:
            with pytest.raises(IntegrityError, match="logits differ"):
                verify_folder(folder, trained)


def test_the_probe_is_the_same_every_time(folder: Path) -> None:
    trained = load_trained(folder)
    assert np.array_equal(probe_logits(trained), probe_logits(trained))
    short = replace(trained, task=Ner(window=8, overlap=0))
    assert probe_logits(short).shape == (3, 8, 5)
