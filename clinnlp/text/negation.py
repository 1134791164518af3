"""Negated or affirmed: cues before and after a span, within its sentence (English).

After NegEx (Chapman et al. 2001, J Biomed Inform 34:301) and ConText (Harkema et al. 2009, J Biomed Inform 42:839):
cues open a scope, terminators and sentence ends close it, pseudo-cues look like cues and are none. The cues are a list
of our own. Family members, hypotheses and the past are in `context`.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from clinnlp.text.sentences import ends

BEFORE = (  # negate what follows
    "no", "not", "without", "w/o", "denies", "denied", "denying", "deny", "never", "neither", "nor", "cannot",
    "negative for", "neg for", "free of", "free from", "clear of", "absence of", "absent", "lack of", "lacks",
    "lacking", "none of", "ruled out for", "ruled out", "rules out", "fails to reveal", "failed to reveal",
    "fails to show", "failed to show", "rather than", "unremarkable for",
)  # fmt: skip
AFTER = (  # negate what stands before them
    "is negative", "was negative", "are negative", "were negative", "came back negative", "is ruled out",
    "was ruled out", "were ruled out", "been ruled out", "is absent", "are absent", "was absent", "were absent",
    "is denied", "was denied", "were denied", "been excluded", "was excluded", "unlikely", "none",
    *(f"{verb}not {seen}" for verb in ("", "is ", "was ", "are ", "were ", "been ") for seen in (
        "seen", "identified", "noted", "present", "found", "demonstrated", "visualized", "observed", "detected",
        "appreciated", "evident",
    )),
)  # fmt: skip
PSEUDO = (  # no negation
    "no increase", "no decrease", "no change", "no changes", "no interval change", "no significant change",
    "no further", "no doubt", "no one", "not only", "not necessarily", "not certain", "not sure", "not clear",
    "not ruled out", "not been ruled out", "not excluded", "cannot be excluded", "cannot be ruled out",
    "cannot exclude", "cannot rule out", "could not be ruled out", "could not rule out", "unable to rule out",
    "not improved", "not improve", "not resolved", "not controlled", "without difficulty", "gram negative",
    "gram-negative", "rh negative", "rh-negative", "with or without", "not caused by",
)  # fmt: skip
TERMINATORS = (
    "but", "however", "although", "though", "nevertheless", "nonetheless", "yet", "still", "except", "except for",
    "apart from", "aside from", "other than", "whereas", "which", "who", "because", "because of", "due to",
    "secondary to", "cause of", "source of", "reason for", "etiology of", "presents with", "presented with",
    "presenting with", "complains of", "complained of", "complaining of", "reports", "reported", "admits", "admits to",
    "endorses", "positive for", "status post", "s/p",
)  # fmt: skip
NAMES = ("affirmed", "negated")


def _phrases(phrases: Iterable[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words in lower case; at one place the longest wins."""
    by_letter: dict[str, list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        by_letter.setdefault(phrase[0], []).append(r"\s+".join(map(re.escape, phrase[1:].split(" "))))
    # the first letter stands before the check that it begins a word: re then skips to it, five times as fast
    parts = (rf"{letter}(?<!\w.)(?:{'|'.join(rests)})" for letter, rests in sorted(by_letter.items()))
    return re.compile(rf"(?:{'|'.join(parts)})(?!\w)", re.DOTALL)


@dataclass(frozen=True)
class Cues:
    """Phrases that say something of what stands after or before them, until a terminator or the end of the sentence.

    `kinds` has the kind of each phrase; `also` finds cues of what follows that are no words, such as n't.
    """

    kinds: Mapping[str, str]
    pattern: re.Pattern[str]
    also: re.Pattern[str] | None = None

    @classmethod
    def of(
        cls,
        before: Iterable[str],
        after: Iterable[str] = (),
        pseudo: Iterable[str] = (),
        terminators: Iterable[str] = TERMINATORS,
        also: str | None = None,
    ) -> "Cues":
        """Cues of what follows them, of what stands before them, phrases that only look like cues, and terminators."""
        lists = (("stop", terminators), ("before", before), ("after", after), ("pseudo", pseudo))
        kinds = {phrase: kind for kind, phrases in lists for phrase in phrases}
        return cls(kinds, _phrases(kinds), re.compile(also) if also else None)

    def scopes(self, text: str) -> list[tuple[int, int]]:
        """The stretches of a text that a cue speaks of, sorted; they may overlap.

        A cue reaches to the next terminator or the end of the sentence, one that follows what it speaks of back to the
        last. A line break ends a sentence where the line is short (a wrapped one would be longer) or the next one is
        empty or begins with a capital, a number or a bullet.
        """
        found: list[tuple[int, int]] = []
        begin, opened = 0, -1  # of the stretch since the last terminator; of the scope that a cue opened
        for start, end, kind in self._marks(text):
            if kind == "before":
                opened = end if opened < 0 else opened
            elif kind == "after":
                found.append((begin, start))
            elif kind == "stop":
                if opened >= 0:
                    found.append((opened, start))
                begin, opened = end, -1
        if opened >= 0:
            found.append((opened, len(text)))
        return sorted(found)

    def covers(self, text: str, bounds: Sequence[tuple[int, int]]) -> list[bool]:
        """Whether a cue speaks of each (start, end), by where it starts."""
        found = self.scopes(text)
        starts = [start for start, _ in found]
        reach = list(accumulate((end for _, end in found), max))
        places = [bisect_right(starts, start) - 1 for start, _ in bounds]
        return [place >= 0 and start < reach[place] for place, (start, _) in zip(places, bounds, strict=True)]

    def _marks(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, kind) of all cues, pseudo-cues and terminators, sentence ends among them, in text order."""
        lower = text.lower()
        if len(lower) != len(text):  # one letter may become two
            lower = "".join(char if len(char.lower()) > 1 else char.lower() for char in text)
        marks = [(m.start(), m.end(), self.kinds[" ".join(m[0].split())]) for m in self.pattern.finditer(lower)]
        if self.also:
            marks += [(m.start(), m.end(), "before") for m in self.also.finditer(lower)]
        if all(kind in ("stop", "pseudo") for _, _, kind in marks):
            return []
        marks += [(place, place + 1, "stop") for place in ends(text)]
        return sorted(marks)


NEGATION = Cues.of(BEFORE, AFTER, PSEUDO, also=r"['’](?<=n.)t\b")


def polarity(text: str, bounds: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """ "negated" or "affirmed" for each (start, end), by where it starts."""
    return tuple(NAMES[one] for one in NEGATION.covers(text, bounds))


def negated(text: str) -> list[tuple[int, int]]:
    """The stretches of a text that a cue negates, sorted; they may overlap."""
    return NEGATION.scopes(text)
