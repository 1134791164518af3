"""Ray: the same bytes as without it, also when a worker dies, a note kills every worker, or a node goes down."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.on_ray import RayPool
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.plan import Record
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import label, notes

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="Ray is not installed")
KEY = bytes(32)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without room for workers, and two nodes with two places each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=2) for _ in range(2)]
    code = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ray.init(address=made.address, log_to_driver=False, runtime_env={"env_vars": code})
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def labeled(out: Path, records: list[Record], on: str, workers: int = 3) -> dict[tuple[int, str], bytes]:
    """What a run leaves, by shard and kind."""
    store = LocalStore(out)
    store.put("key", KEY)
    counts = label(out, records, options=Options(shard_documents=3, workers=workers, on=on, document_seconds=20))
    assert counts.input == len(records)
    assert verify(store).faults == []
    assert read_labels(out).documents.ordinal.tolist() == list(range(len(records)))
    commits = [held.commit for held in Ledger.read(store).held.values() if held.commit]
    return {(c.shard, kind): store.get(file.name) or b"" for c in commits for kind, file in c.files.items()}


def test_the_same_bytes_as_here(cluster: Any, tmp_path: Path) -> None:
    records = [*notes(20), *notes(1, 20, "RAISE"), *notes(9, 21)]
    assert labeled(tmp_path / "ray", records, "ray") == labeled(tmp_path / "here", records, "here", workers=0)


def test_a_note_that_kills_its_worker_is_set_aside_alone(cluster: Any, tmp_path: Path) -> None:
    records = [*notes(4), *notes(1, 4, "CRASH"), *notes(4, 5)]
    labeled(tmp_path, records, "ray", workers=2)
    documents = read_labels(tmp_path).documents
    assert documents.status.tolist() == ["labeled"] * 4 + ["quarantined"] + ["labeled"] * 4


def test_a_node_goes_down_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    made, nodes = cluster
    records = [record for number in range(60) for record in notes(1, number, "SLOW")]
    went: list[int] = []

    def kill() -> None:
        while len(done := Ledger.read(LocalStore(tmp_path / "ray")).held) < 3:
            time.sleep(0.05)
        made.remove_node(nodes[0], allow_graceful=False)
        went.append(len(done))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = labeled(tmp_path / "ray", records, "ray", workers=4)
    killer.join(10)
    assert went and went[0] < 20, "the node went down while shards were left"
    assert found == labeled(tmp_path / "here", records, "here", workers=0)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from clinnlp.errors import ConfigError

    monkeypatch.setitem(sys.modules, "ray", None)
    none: Any = None
    with pytest.raises(ConfigError, match=r"Ray is not installed.*pip install 'clinnlp\[ray\]'"):
        RayPool(none, LocalStore(Path()), 1, 1.0).__enter__()
