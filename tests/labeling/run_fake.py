"""A program for tests: labels N notes with a fake model; OUT N WORKERS [OPTION=VALUE ...] [text=WORD at=N]."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from clinnlp.core.document import Document  # noqa: E402
from clinnlp.errors import ClinnlpError  # noqa: E402
from clinnlp.labeling.options import Options  # noqa: E402
from tests.labeling.fakes import Fake, label, notes  # noqa: E402


def main() -> int:
    out, count, workers, *words = sys.argv[1:]
    given = dict(word.split("=") for word in words)
    text, at = given.pop("text", ""), int(given.pop("at", 0))
    witness = given.pop("witness", "")
    records = notes(int(count))
    if text:
        record = records[at]
        assert isinstance(record, Document)
        records[at] = replace(record, text=text)
    options = Options(shard_documents=5, workers=int(workers), **{name: eval(value) for name, value in given.items()})
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        label(Path(out), records, Fake(witness=Path(witness) if witness else None), options)
    except ClinnlpError as error:
        print(f"error {error.exit_status} {error}", file=sys.stderr)
        return error.exit_status
    print("torch" if "torch" in sys.modules else "no torch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
