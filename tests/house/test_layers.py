"""Imports point down only, are absolute, and bring heavy libraries in where design.md allows it."""

import ast
from pathlib import Path

import pytest

from tests.house.source import FILES, imports, module_name, top_level, tree

LEVELS = (
    ("errors", "version"),
    ("core", "plugins"),
    ("formats", "encode", "evaluation", "text", "config"),
    ("objectives", "tasks", "strategies", "domains"),
    ("models",),
    ("engines",),
    ("training", "labeling"),
    ("recipes",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
HEAVY = {
    "torch", "transformers", "datasets", "peft", "spacy", "sklearn", "scipy", "evaluate", "pyarrow", "pandas",
    "accelerate", "tokenizers", "safetensors",
}  # fmt: skip
LOOPS = LEVEL["training"]
INSIDE = [path for path in FILES if module_name(path) != "clinnlp"]


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_a_level() -> None:
    assert len(INSIDE) > 40
    assert {room(module_name(path)) for path in INSIDE} == LEVEL.keys()


@pytest.mark.parametrize("path", INSIDE, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    own = room(module_name(path))
    for node in ast.walk(tree(path)):
        for line, name in imports(node):
            assert not name.startswith("."), f"line {line}: a relative import"
            if name.split(".")[0] != "clinnlp":
                continue
            assert name != "clinnlp", f"line {line}: imports the package root"
            assert room(name) in LEVEL, f"line {line}: {name} is a public name of the package root"
            down = LEVEL[room(name)] < LEVEL[own]
            assert down or room(name) == own, f"line {line}: {own} (level {LEVEL[own]}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    name = module_name(path)
    if name == "clinnlp.evaluation.metric" or (name != "clinnlp" and LEVEL[room(name)] == LOOPS):
        return
    for node in top_level(tree(path)):
        for line, imported in imports(node):
            assert imported.split(".")[0] not in HEAVY, f"line {line}: {imported} belongs into a function"


def test_plugins_of_one_kind_do_not_import_each_other() -> None:
    for path in INSIDE:
        name = module_name(path)
        if room(name) in ("objectives", "tasks", "strategies", "domains", "formats", "engines") and path.stem[0] != "_":
            siblings = {imported for node in ast.walk(tree(path)) for _, imported in imports(node)}
            own = f"clinnlp.{room(name)}."
            wrong = {s for s in siblings if s.startswith(own) and not s.startswith((own + "base.", own + "_"))}
            assert not wrong, f"{name} imports {wrong}"
