"""What a first look costs: no heavy library is loaded before it is needed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "peft", "spacy", "sklearn", "scipy", "evaluate", "pandas", "pyarrow")
TELL = f"import sys; print('loaded', *(name for name in {HEAVY!r} if name in sys.modules))"


def loaded(program: str) -> str:
    """The heavy libraries that a fresh process holds after a program."""
    done = subprocess.run([sys.executable, "-c", f"{program}\n{TELL}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded("import pyarrow") == "loaded pyarrow"


@pytest.mark.parametrize(
    "program",
    [
        "import clinnlp; clinnlp.read; clinnlp.write; clinnlp.read_labels; clinnlp.Document",
        "from clinnlp.cli import main; assert main(['--help']) == 0",
        "from clinnlp.cli import main; assert main(['finetune', '--help']) == 0",
        "from clinnlp.cli import main; assert main(['pretrain', '--help']) == 0",
        "from clinnlp.cli import main; assert main(['list']) == 0",
        "from clinnlp.cli import main; assert main(['list', 'lora']) == 0",
        "from clinnlp.cli import main; assert main(['finetune', '--base', 'x', '--outt', 'y']) == 2",
    ],
    ids=["import", "help", "finetune help", "pretrain help", "list", "list lora", "a mistyped flag"],
)
def test_a_first_look_loads_nothing_heavy(program: str) -> None:
    assert loaded(program) == "loaded"


def test_public_names_are_all_there() -> None:
    import clinnlp

    assert len(clinnlp.__all__) <= 12
    assert all(getattr(clinnlp, name) is not None for name in clinnlp.__all__)
    with pytest.raises(AttributeError, match="module 'clinnlp' has no attribute 'nothing'"):
        _ = clinnlp.nothing
