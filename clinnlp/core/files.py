"""The files that come with the package: data/ and configs/, in a wheel or in a checkout."""

from pathlib import Path

from clinnlp.errors import StorageError

_PACKAGE = Path(__file__).parents[1]


def bundled(name: str) -> Path:
    """A file or folder of the repository's data/ or configs/, wherever the package was installed from."""
    for root in (_PACKAGE / "bundled", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise StorageError("this file should have come with clinnlp", where=name, next="install clinnlp again")
