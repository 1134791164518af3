"""Finished runs as `compare` needs them: what was scored, what was predicted, by what, at what cost."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clinnlp import config
from clinnlp.core.document import Document
from clinnlp.core.run import MANIFEST, megabytes, sha256_files
from clinnlp.errors import ChangedError, ConfigError, DataError, IntegrityError
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes._attributes import as_scored, attributes_of
from clinnlp.recipes._data import DataSettings, data_sha256, load_documents, load_splits
from clinnlp.recipes._multitask import VERB, OneTask
from clinnlp.recipes._scores import flat
from clinnlp.recipes.crossvalidate import CrossValidate
from clinnlp.recipes.evaluate import Evaluate
from clinnlp.recipes.finetune import Finetune
from clinnlp.text.folds import Folds

VERBS = {"finetune": Finetune, "evaluate": Evaluate, "crossvalidate": CrossValidate, VERB: OneTask}
"""The verbs whose runs hold predictions, with their settings."""
PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class FoldScores:
    """The scores of a cross-validation by fold, how folds were made, and how many notes they trained and tested on."""

    score: str
    by_fold: dict[str, float | None]
    train_notes: list[int]
    test_notes: list[int]
    how: Folds

    @property
    def shape(self) -> Any:
        """What two must share, besides `how`, to be compared fold by fold."""
        return self.score, list(self.by_fold), self.train_notes, self.test_notes


@dataclass(frozen=True)
class StoredRun:
    """A finished run that was scored; `trained` is the manifest of the run that made its model, {} if unknown."""

    name: str
    folder: Path
    verb: str
    settings: Any
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    trained: dict[str, Any]

    @property
    def seed(self) -> int | None:
        """The seed of training."""
        return self.trained.get("seed")

    @property
    def split(self) -> str:
        """The notes that were scored: test, dev, or train by folds."""
        data = self.settings.data
        return "train" if self.verb == "crossvalidate" else "test" if data.test or data.test_share else "dev"

    @property
    def parts(self) -> tuple[str, ...]:
        """What was scored: entity, notes, or both."""
        return tuple(part for part in ("entity", "notes") if part in self.metrics)

    def labels(self, part: str) -> set[str]:
        """The labels of gold, predictions and model together."""
        scores = self.metrics[part]["strict"] if part == "entity" else self.metrics[part]
        return set(scores["per_label"])

    def counts(self, part: str) -> dict[str, int]:
        """tp, fp, fn over all labels."""
        scores = self.metrics[part]["strict"] if part == "entity" else self.metrics[part]
        return {name: scores["micro"][name] for name in ("tp", "fp", "fn")}

    @property
    def hashes(self) -> dict[str, str]:
        """The content hashes of its data and predictions."""
        data: dict[str, str] = self.manifest["data_sha256"]
        path = self.folder / PREDICTIONS
        return data | ({"predictions": sha256_files([path])} if path.is_file() else {})

    @property
    def folds(self) -> FoldScores | None:
        """The scores of a cross-validation by fold."""
        path = self.folder / "folds.json"
        if self.verb != "crossvalidate" or not path.is_file():
            return None
        values = _json(path, "")
        notes = values["train_notes"], values["test_notes"]
        return FoldScores(values["score"], values["folds"], *notes, self.settings.folds)

    @property
    def model(self) -> Path:
        return Path(self.settings.model) if getattr(self.settings, "model", None) else self.folder / "model"

    @property
    def costs(self) -> dict[str, float | None]:
        """What the model took to train and to store; None where it is not recorded."""
        facts = self.trained.get("facts", {})
        return {
            "train seconds": facts.get("train seconds"),
            "trained weights": facts.get("trained weights"),
            "model MB": megabytes(self.model) or facts.get("model MB"),
            "peak MB": facts.get("peak MB"),
        }

    def described(self, arm: str) -> dict[str, Any]:
        """What metrics.json of a comparison says of the run."""
        costs = {name.replace(" ", "_").lower(): value for name, value in self.costs.items()}
        made = {"folder": str(self.folder), "verb": self.verb, "scored_on": self.split}
        return {**made, "arm": arm, "seed": self.seed, "costs": costs}


def read_runs(folders: Sequence[Path]) -> list[StoredRun]:
    """The runs in these folders, each under a name of its own. Raises ConfigError, DataError or IntegrityError."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len({folder.resolve() for folder in folders}):
        names = [str(folder) for folder in folders]
    repeats = [names[:n].count(name) for n, name in enumerate(names)]
    names = [f"{name} ({n + 1})" if n else name for name, n in zip(names, repeats, strict=True)]
    return [_read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def _read_run(folder: Path, name: str) -> StoredRun:
    manifest = _json(folder / MANIFEST, "no run lies here")
    verb = manifest.get("verb")
    if verb not in VERBS:
        raise ConfigError(
            f"a run of {verb!r} cannot be compared", where=str(folder), next=f"give runs of {', '.join(VERBS)}"
        )
    if manifest.get("status") != "done":
        raise DataError(
            f"this run is not finished ({manifest.get('status')})", where=str(folder), next="finish or repeat it"
        )
    metrics = _json(folder / "metrics.json", "this run was saved without a score")
    try:
        settings = config.build(VERBS[verb], manifest["settings"])
        run = StoredRun(name, folder, verb, settings, manifest, metrics, manifest)
        held = [(run.labels(part), run.counts(part), run.hashes) for part in run.parts]
        if not held:
            raise DataError("its metrics.json holds no scores", where=str(folder), next="score it again")
    except ConfigError as error:
        raise ConfigError(f"settings of the run: {error.what}", where=f"{folder}: {error.where}") from None
    except (KeyError, TypeError) as error:
        what = f"its manifest.json or metrics.json is not that of a run ({type(error).__name__})"
        raise IntegrityError(what, where=str(folder), next="copy the run again") from None
    if verb != "evaluate":
        return run
    beside = Path(settings.model).parent / MANIFEST if settings.model else None
    return replace(run, trained=_json(beside, "") if beside is not None and beside.is_file() else {})


def _json(path: Path, missing: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError:
        what = f"{missing}: there is no {path.name}"
        raise ConfigError(what, where=str(path.parent), next=f"give the folders of {', '.join(VERBS)} runs") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise IntegrityError("not a JSON object", where=str(path), next="copy the run again")
    return values


def gold_of(run: StoredRun, given: DataSettings, known: dict[str, list[Document]]) -> list[Document]:
    """The documents that a run was scored on, from where its settings say or from `given.test`.

    `known` holds what was read for other runs. Raises ChangedError if the files are not those of the run any more.
    """
    own, recorded, split = run.settings.data, run.manifest["data_sha256"], run.split
    data, path = (given, given.test) if given.test else (own, getattr(own, split))
    key = f"{split if path is None else path} {config.fingerprint(data)} {attributes_of(run)}"
    try:
        _check_hash(run, str(path or data.train), data, recorded.get(split if path else "train"))
        if key not in known:
            known[key] = as_scored(run, load_documents(path, data, []) if path else getattr(load_splits(data), split))
    except ConfigError as error:
        what = f"the notes of run {run.name}: {error.what}"
        raise ConfigError(what, where=error.where, next="give --data.test PATH --data.format F") from None
    return known[key]


def _check_hash(run: StoredRun, path: str, data: DataSettings, recorded: str | None) -> None:
    found = data_sha256(path, data.format)
    if recorded is not None and found != recorded:
        raise ChangedError(
            f"the notes are not those that run {run.name} was scored on: sha256 {found[:12]}, recorded {recorded[:12]}",
            where=path,
            next="give the very files with --data.test, or score the run again",
        )


def predictions_of(run: StoredRun) -> list[Document]:
    """The predictions of a run, from its folder or from the file that it scored."""
    path = run.folder / PREDICTIONS
    if path.is_file():
        return as_scored(run, list(read(path, Jsonl())))
    source, format = getattr(run.settings, "predictions", None), getattr(run.settings, "predictions_format", None)
    if source is None or format is None:
        raise ConfigError(f"there is no {PREDICTIONS}", where=str(run.folder), next="score the run again")
    if data_sha256(source, format) != run.manifest["data_sha256"].get("predictions"):
        raise ChangedError(
            f"the predictions have changed since run {run.name} scored them", where=source, next="score them again"
        )
    return as_scored(run, list(read(source, format)))


def answers_of(predicted: Sequence[Document]) -> str:
    """A hash of what was predicted, whatever the order: spans and labels, not their scores."""
    digest = hashlib.sha256()
    for document in sorted(predicted, key=lambda document: document.id):
        said = [document.id, sorted(span.key for span in document.spans), sorted(document.labels)]
        digest.update(json.dumps(said).encode())
    return digest.hexdigest()


def same_gold(first: tuple[StoredRun, Sequence[Document]], second: tuple[StoredRun, Sequence[Document]]) -> None:
    """Raises DataError, naming the runs, if they were scored on other documents or against other annotations."""
    if first[1] is second[1]:
        return
    names = f"runs {first[0].name} and {second[0].name} were scored"
    one, two = ({document.id: document for document in gold} for _, gold in (first, second))
    if one.keys() != two.keys():
        raise DataError(
            f"{names} on different documents: {len(one.keys() - two.keys())} of {len(one)} are of the first alone, "
            f"{len(two.keys() - one.keys())} of {len(two)} of the second alone",
            next="score them on the same notes",
        )
    texts = sum(one[id].text != two[id].text for id in one)
    if texts:
        raise DataError(f"{names} on different texts in {texts} of {len(one)} documents", next="score them on the same")
    changed = sum(_annotated(one[id]) != _annotated(two[id]) for id in one)
    if changed:
        raise DataError(
            f"{names} against different annotations or groups in {changed} of {len(one)} documents",
            next="score them against the same gold, or give it with --data.test",
        )


def _annotated(document: Document) -> Any:
    return sorted(span.key for span in document.spans), sorted(document.labels), document.group


def named_arms(runs: Sequence[StoredRun], given: Sequence[str]) -> list[str]:
    """The arm of each run: as given, or runs that differ in the seed alone, named by strategy and base.

    Without two such arms, or where one would hold a seed twice, each run is an arm of its own.
    """
    if given:
        return list(given)
    keys = [training_key(run) for run in runs]
    distinct = list(dict.fromkeys(keys))
    by_seed = {(key, run.seed) for key, run in zip(keys, runs, strict=True)}
    if len(distinct) < 2 or len(distinct) == len(runs) or len(by_seed) < len(runs):
        return [run.name for run in runs]
    members = {key: [run for own, run in zip(keys, runs, strict=True) if own == key] for key in distinct}
    short = {key: short_name(members[key][0]) for key in distinct}
    return [_told_apart(key, short, members) for key in keys]


def training_key(run: StoredRun, *left_out: str) -> str:
    """Equal for runs that were trained with equal settings, but for folder, seed and those left out."""
    settings = run.trained.get("settings")
    keep = {key: value for key, value in (settings or {}).items() if key not in ("out", "seed", *left_out)}
    return json.dumps(keep, sort_keys=True) if settings else f"run {run.name}"


def short_name(run: StoredRun) -> str:
    """The strategy and base of a run."""
    settings = run.trained.get("settings")
    if not settings:
        return run.name
    base = Path(settings["base"] or settings["like"])
    start = base.parent.name if base.name == "model" else base.name
    return f"{settings['strategy']['name']} {start if settings['base'] else f'from scratch, as {start}'}"


def _told_apart(key: str, short: dict[str, str], members: dict[str, list[StoredRun]]) -> str:
    """The short name, with the settings in which arms of that name differ."""
    alike = [other for other in short if short[other] == short[key]]
    settings = {other: flat(members[other][0].trained.get("settings", {})) for other in alike}
    told = [short[key]]
    for name in sorted({name for values in settings.values() for name in values} - {"out", "seed"}):
        values = {other: str(held.get(name)) for other, held in settings.items()}
        if len(distinct := set(values.values())) > 1:
            ends = {Path(value).name for value in distinct}  # of paths the last parts, where they tell them apart
            told.append(f"{name} {Path(values[key]).name if len(ends) == len(distinct) else values[key]}")
    return ", ".join(told)
