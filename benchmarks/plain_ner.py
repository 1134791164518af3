"""A plain transformers Trainer script for entity extraction, in the manner a user would write it.

Truncation, learning rate 5e-5, a few epochs, random order, padding to the longest row of the batch; it is what
`clinnlp finetune` is measured against. Reading and scoring are clinnlp's, so that only training differs.

    python benchmarks/plain_ner.py --base DIR --train F --dev F --test F --seed 1 --out DIR
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.score import evaluate
from clinnlp.formats.base import read, write


def words_and_tags(document: Document) -> tuple[list[str], list[tuple[int, int]], list[str]]:
    words, bounds, tags, start = document.text.split(" "), [], [], 0
    begins = {span.start: span for span in document.spans}
    inside: Span | None = None
    for word in words:
        end = start + len(word)
        if start in begins:
            inside = begins[start]
            tags.append(f"B-{inside.label}")
        else:
            inside = inside if inside and start < inside.end else None
            tags.append(f"I-{inside.label}" if inside else "O")
        bounds.append((start, end))
        start = end + 1
    return words, bounds, tags


def spans_of(tags: list[str], bounds: list[tuple[int, int]]) -> tuple[Span, ...]:
    spans: list[list] = []
    for tag, (start, end) in zip(tags, bounds, strict=True):
        if tag[0] == "B" or (tag[0] == "I" and (not spans or spans[-1][2] != tag[2:] or spans[-1][1] != start - 1)):
            spans.append([start, end, tag[2:]])
        elif tag[0] == "I":
            spans[-1][1] = end
    return tuple(Span(*span) for span in spans)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("base", "train", "dev", "test", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--max_length", type=int, default=128)
    args = parser.parse_args()
    set_seed(args.seed)
    data = {name: list(read(getattr(args, name), "conll")) for name in ("train", "dev", "test")}
    labels = ["O", *sorted({t for d in data["train"] for t in words_and_tags(d)[2]} - {"O"})]
    tokenizer = AutoTokenizer.from_pretrained(args.base, add_prefix_space=True)

    def encode(document: Document) -> dict:
        words, _, tags = words_and_tags(document)
        row = tokenizer(words, is_split_into_words=True, truncation=True, max_length=args.max_length)
        previous, targets = None, []
        for word in row.word_ids():
            targets.append(-100 if word is None or word == previous else labels.index(tags[word]))
            previous = word
        return {"input_ids": row["input_ids"], "attention_mask": row["attention_mask"], "labels": targets}

    rows = {name: [encode(document) for document in documents] for name, documents in data.items()}
    model = AutoModelForTokenClassification.from_pretrained(
        args.base, id2label=dict(enumerate(labels)), label2id={t: i for i, t in enumerate(labels)}, dtype=torch.float32
    )

    def predict(trainer: Trainer, name: str) -> list[Document]:
        logits = trainer.predict(rows[name]).predictions
        found = []
        for document, row, answer in zip(data[name], rows[name], logits, strict=True):
            _, bounds, _ = words_and_tags(document)
            first = [i for i, target in enumerate(row["labels"]) if target != -100]
            tags = [labels[np.argmax(answer[i])] for i in first]
            tags += ["O"] * (len(bounds) - len(tags))  # what truncation cut off
            found.append(replace(document, spans=spans_of(tags, bounds)))
        return found

    history = []
    clock = {"training": 0.0, "since": 0.0}

    class Scores(TrainerCallback):
        def on_epoch_begin(self, *_, **__) -> None:
            clock["since"] = time.process_time()

        def on_epoch_end(self, arguments, state, *_, **__) -> None:
            clock["training"] += time.process_time() - clock["since"]
            score = evaluate(data["dev"], predict(trainer, "dev"), task="ner").entity.strict.micro.f1
            history.append({"epoch": state.epoch, "cpu_seconds": clock["training"], "score": score})
            print(history[-1], flush=True)

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"{args.out}/trainer", num_train_epochs=args.epochs, learning_rate=args.learning_rate,
            per_device_train_batch_size=args.batch, per_device_eval_batch_size=args.batch, weight_decay=0.01,
            warmup_steps=0.1, seed=args.seed, save_strategy="no", report_to="none", disable_tqdm=True,
        ),
        train_dataset=rows["train"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
        callbacks=[Scores()],
    )  # fmt: skip
    trainer.train()
    predicted = predict(trainer, "test")
    out = Path(args.out)
    write(predicted, out / "predictions.jsonl", "jsonl")
    metrics = evaluate(data["test"], predicted, task="ner").as_dict()
    metrics["training"] = {"cpu_seconds": clock["training"], "history": history}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
