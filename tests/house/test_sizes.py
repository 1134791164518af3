"""Small by habit: files, functions and signatures."""

import ast
from pathlib import Path

import pytest

from tests.house.source import FILES, module_name, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef
HOOKS = {  # the hooks and models of transformers have its signatures
    "training/dropout.py", "training/fit.py", "training/watch.py", "training/multitask.py", "encode/varlen.py",
}  # fmt: skip


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, Function)]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    for function in functions(path):
        first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        lines = (function.end_lineno or 0) - first + 1
        assert lines < 60, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_signatures_are_short_and_open(path: Path) -> None:
    for function in functions(path):
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")]
        assert len(names) <= 8, f"{function.name} takes {len(names)} arguments"
        is_hook = path.as_posix().endswith(tuple(HOOKS)) and (
            function.name.startswith("on_") or function.name[0] == "_"
        )
        if not is_hook:
            assert given.kwarg is None, f"{function.name} takes **{given.kwarg.arg}"
        for default in (*given.defaults, *given.kw_defaults):
            mutable = isinstance(default, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp)
            assert not mutable, f"{function.name} has a mutable default"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_file_and_public_class_and_function_says_what_it_is(path: Path) -> None:
    if path.stat().st_size:
        assert ast.get_docstring(tree(path)), "the file has no docstring"
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
