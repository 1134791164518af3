"""The package as syntax trees: what the house tests read."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "clinnlp"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "bundled" not in path.parts)


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> list[tuple[int, str]]:
    """Line and dotted name of all that an import statement brings in; `from a import b` is a.b."""
    if isinstance(node, ast.Import):
        return [(node.lineno, alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(node.lineno, "." * node.level + f"{node.module or ''}.{alias.name}") for alias in node.names]
    return []


def for_types_only(node: ast.AST) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def top_level(node: ast.AST) -> list[ast.AST]:
    """All statements that run when the module is imported: not in functions, not for type checkers."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or for_types_only(child):
            continue
        found += [child, *top_level(child)]
    return found
