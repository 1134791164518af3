"""Canaries: made-up secrets planted among training notes, to see afterwards whether a model learned them by heart.

Nothing in them is real text. All share one sentence, so that secrets can be ranked among candidates of its kind; each
copy goes on with words of its own, so that neither equal nor nearly equal notes are removed before training.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from clinnlp.core.document import Document

OPENING = "Test entry of an audit, not of a patient. The key is "
DIGITS = 6
_WORDS = (
    "amber anchor basket beacon birch bottle bridge candle canyon cedar circle cobalt copper coral cotton crystal "
    "desert dolphin eagle ember falcon feather forest garden ginger granite hammer harbor hazel island ivory jacket "
    "jasper kettle lantern lemon maple marble meadow mirror nickel oyster paper pepper pillow planet plum pocket "
    "prairie quartz ribbon river saddle saffron silver spruce sunset temple thunder timber tulip velvet walnut willow"
)
WORDS = tuple(_WORDS.split())
SENTENCES, LENGTH = 3, 8  # of what follows the sentence, in words
_LINE = re.compile(rf"{re.escape(OPENING)}([a-z]+ [a-z]+(?: [0-9]){{{DIGITS}}})\.(?:\s|$)")


def draw_secrets(count: int, seed: str, taken: Iterable[str] = ()) -> list[str]:
    """Distinct secrets, two words and six digits each, none of them in `taken`."""
    draw, seen = random.Random(seed), set(taken)
    made: list[str] = []
    while len(made) < count:
        secret = " ".join([*draw.choices(WORDS, k=2), *draw.choices("0123456789", k=DIGITS)])
        if secret not in seen:
            seen.add(secret)
            made.append(secret)
    return made


def sentence(secret: str) -> str:
    """The sentence that holds a secret."""
    return f"{OPENING}{secret}."


def plant(each: int, repeats: Sequence[int], seed: int) -> list[Document]:
    """Notes with `each` secrets for every number of repeats, each secret in so many notes."""
    draw = random.Random(f"filler {seed}")
    secrets = iter(draw_secrets(each * len(repeats), f"planted {seed}"))
    notes: list[Document] = []
    for times in repeats:
        for _ in range(each):
            opening = sentence(next(secrets))
            for _ in range(times):
                text = "\n".join([opening, *(_filler(draw) for _ in range(SENTENCES))])
                notes.append(Document(f"canary-{len(notes)}", text))
    return notes


def secret_of(text: str) -> str | None:
    """The secret of a planted note, None for any other note."""
    found = _LINE.match(text)
    return found.group(1) if found else None


def planted(documents: Iterable[Document]) -> dict[str, int]:
    """The secrets of planted notes, each with the number of notes that hold it."""
    return dict(Counter(secret for document in documents if (secret := secret_of(document.text))))


def _filler(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=LENGTH)).capitalize() + "."
