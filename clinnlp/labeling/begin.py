"""How a run begins: as a new one, or as one that was begun before, if nothing that matters has changed."""

import hashlib
import logging
import secrets
from collections.abc import Collection, Mapping

from clinnlp.errors import ChangedError, DataError, InUseError
from clinnlp.labeling.model import MACHINE
from clinnlp.labeling.options import Options
from clinnlp.labeling.plan import Ids, Plan, cut, describe, differences, read_plan, write_plan
from clinnlp.labeling.record import PINNED, RunRecord, last_record
from clinnlp.labeling.source import Files, Source
from clinnlp.labeling.store import LOCK, WRITERS, Store
from clinnlp.labeling.worker import doc_ref

log = logging.getLogger("clinnlp")

PREPARED = {LOCK, "key", "plan", WRITERS, PINNED}  # what a run that never came to its record leaves
ANOTHER = "give the settings and model of that run to go on with it, or choose a new --out"


def check_fresh(store: Store, there: Collection[str]) -> None:
    """Raises InUseError if a folder holds anything (`there`) but what a run leaves that was stopped as it began."""
    if PREPARED.issuperset(there):
        return
    if "commits" in there:
        raise ChangedError(
            "labels without their run.json: the folder was copied in part", where=store.place,
            kept="everything in it", next="copy the folder again, or choose a new --out",
        )  # fmt: skip
    holds = "a run" if "manifest.json" in there else "files that are not of clinnlp"
    raise InUseError(
        f"the output folder already holds {holds}", where=store.place,
        kept="everything in it", next="choose a new --out, or remove the folder",
    )  # fmt: skip


def begin(store: Store, source: Source, files: Files, fingerprint: Mapping[str, str], options: Options) -> RunRecord:
    """The record of the run in the store, made if there is none, and made anew for changes that `options` allow.

    `files` are those of the source. Raises ChangedError for other changes, DataError for ids that occur twice.
    """
    before = last_record(store)
    if before is None:
        store.put_if_absent("key", secrets.token_bytes(32))
        return _record(store, RunRecord(1, "new", fingerprint, files, _plan(store, source, options, 1, ())))
    reasons = ["versions"] if _other_machine(store, before, fingerprint, options) else []
    plan, generation = before.plan, before.generation + 1
    if files != before.files or not files:
        sizes = [shard.records for shard in read_plan(store, before.plan)]
        if reason := _other_input(store, source, before.plan, sizes, options):
            reasons.append(reason)
            plan = _plan(store, source, options, generation, sizes)
        elif files != before.files:
            reasons.append("renamed")
    if not reasons:
        return before
    log.warning("the run goes on under another record: %s", ", ".join(reasons))
    digest = hashlib.sha256(store.get(before.name) or b"").hexdigest()
    return _record(store, RunRecord(generation, ", ".join(reasons), fingerprint, files, plan, digest))


def _plan(store: Store, source: Source, options: Options, generation: int, sizes: list[int] | tuple[()]) -> Plan:
    """Read the input once and store its plan. Raises DataError for ids that occur twice."""
    ids = Ids()
    shards = describe(cut(ids.watch(source.records()), options.shard_documents, sizes))
    plan = write_plan(store, f"plan/g{generation}", shards)
    if options.duplicate_ids == "refuse" and (repeated := ids.repeated(source.records)):
        key = store.get("key") or b""
        refs = ", ".join(doc_ref(key, id) for id in list(repeated)[:3])
        raise DataError(
            f"{len(repeated)} note ids occur more than once, in {repeated.total()} notes (doc_ref {refs})",
            where=store.place,
            kept="no note was labeled yet",
            next="make the ids unique, or --duplicate_ids keep to tell notes apart by their ordinal",
        )
    return plan


def _record(store: Store, record: RunRecord) -> RunRecord:
    """Store a run record, or take the equal one of a process that was faster."""
    if store.put_if_absent(record.name, record.encode()):
        return record
    winner = RunRecord.parse(store.get(record.name) or b"", store.place)
    if winner.fingerprint != record.fingerprint or winner.plan != record.plan:
        raise ChangedError(
            "another process began another run here", where=store.place, kept="everything in it", next=ANOTHER
        )
    return winner


def _other_machine(store: Store, before: RunRecord, fingerprint: Mapping[str, str], options: Options) -> bool:
    """Whether only versions or the device differ, which `options` allow. Raises ChangedError for anything else."""
    old, new = dict(before.fingerprint), dict(fingerprint)
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    machine = [name for name in changed if name.startswith(MACHINE)]
    if changed and not (options.allow_version_change and machine == changed):
        told = [f"{name} ({old.get(name)}, now {new.get(name)})" if name in machine else name for name in changed]
        raise ChangedError(
            f"the folder holds a run that differs in {', '.join(told)}",
            where=store.place,
            kept="everything in it",
            next="--allow_version_change true to go on, both are recorded" if machine == changed else ANOTHER,
        )
    return bool(changed)


def _other_input(store: Store, source: Source, plan: Plan, sizes: list[int], options: Options) -> str:
    """How the input differs from the plan, if `options` allow that, or nothing. Raises ChangedError if they do not."""
    now = describe(cut(source.records(), options.shard_documents, sizes))
    changed, documents, appended = differences(read_plan(store, plan), now)
    if changed and not options.relabel:
        first = sum(sizes[: changed[0]])
        others = f" and {len(changed) - 1} other shards" if len(changed) > 1 else ""
        raise ChangedError(
            f"input changed since this run began: shard {changed[0]} of {plan.shards} (notes {first + 1} to "
            f"{first + sizes[changed[0]]}){others}, {documents} documents differ",
            where=store.place,
            kept="everything in it",
            next="--relabel true to label what changed once more, or choose a new --out",
        )
    if appended and not (options.extend or options.relabel):
        raise ChangedError(
            f"{appended} documents were appended to the input since this run began",
            where=store.place,
            kept="everything in it",
            next="--extend true to label them too, or choose a new --out",
        )
    return "relabel" if changed else "extend" if appended else ""
