"""What is true of a patient and of one note, and how each slot of a frame is filled from it.

Slots (`{name}`, `{name:argument}`, `{^name}` to capitalise):
PROBLEM of this patient `dx ac sx sg fi fx` (kinds of `problems.py`); `no..` negated, `fam..` family history, `hy..`
hypothetical, `ro..` uncertain. MEDICATION `home abx prn drip alg cls`; `for`: a drug for the problem named last;
`rxdx rxac rxsx`: a drug for the `dx`, `ac` or `sx` slot that comes next. DOSE `dose` of the drug named last, or
`dose:home` of the drug that comes next. TEST `lab img proc cul`, ANATOMY `anat` (any), `site` (where findings lie).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from notegen.draft import Piece
from notegen.lexicon import DRUG_USES, LABELS, Lexicon, Term

REGIONS = ("chest", "abdomen", "head", "limb")
STATE_OF = {"no": "negated", "fam": "family", "hy": "hypothetical", "ro": "uncertain"}
DRUG_SLOTS = {"for": "", "rxdx": "dx", "rxac": "ac", "rxsx": "sx", **dict.fromkeys(DRUG_USES, "")}
WHOLE_LABEL = {"lab": "TEST", "img": "TEST", "proc": "TEST", "cul": "TEST", "anat": "ANATOMY", "site": "ANATOMY"}


@dataclass(frozen=True)
class Style:
    """How one group of authors writes: spellings of doses, routes, frequencies and placeholders."""

    routes: dict[str, tuple[str, ...]]
    frequencies: dict[str, tuple[str, ...]]
    dose_forms: tuple[str, ...]
    names: tuple[str, ...]
    dates: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of a note: its headings, how its sentences are laid out, its frames and how many are drawn."""

    headings: tuple[str, ...]
    mode: str
    frames: tuple[str, ...]
    low: int
    high: int
    chance: float = 1.0


@dataclass(frozen=True)
class Book:
    """All templates of one style: layouts and one-line notes by note type, and the days of long notes."""

    style: Style
    layouts: Mapping[str, tuple[Section, ...]]
    brief: Mapping[str, tuple[str, ...]]
    day: Section
    headings: tuple[str, ...]
    bullets: tuple[str, ...] = field(default=("- ", "* "))


@dataclass(frozen=True)
class Patient:
    """A person who does not exist: what holds over all of their notes."""

    group: str
    age: int
    female: bool
    chronic: tuple[str, ...]
    chronic_labels: tuple[str, ...]
    drugs: tuple[str, ...]


def make_patient(rng: Random, number: int, words: Lexicon) -> Patient:
    """Draw a patient: one to four lasting diagnoses, a drug for each that has one, and some others.

    Every label comes first for one patient in ten, so that no split lacks one.
    """
    female = rng.random() < 0.5
    others = rng.sample(("", "", "hypertension", *LABELS), rng.choice((0, 1, 1, 2, 3)))
    targets = dict.fromkeys((LABELS[number % len(LABELS)], *others))
    chosen: list[Term] = []
    for label in targets:
        pool = [term for term in words.of("dx") if term.category == label and term.suits(female)]
        if pool:
            chosen.append(rng.choice(pool))
    drugs: list[str] = []
    for term in chosen:
        pool = [drug for drug in words.treatments(term) if drug.kind == "home"]
        drugs.extend(drug.concept for drug in rng.sample(pool, min(len(pool), 2)))
    general = [term for term in words.of("home") if not term.category and term.suits(female)]
    drugs.extend(drug.concept for drug in rng.sample(general, rng.randrange(1, 4)))
    return Patient(
        f"P{number:04d}",
        rng.randrange(38, 95),
        female,
        tuple(sorted({term.concept for term in chosen})),
        tuple(sorted({term.category for term in chosen} - {""})),
        tuple(dict.fromkeys(drugs)),
    )


class Facts:
    """The plan of one note: affirmed and deniable problems, and decks from which slots draw without repeats."""

    def __init__(self, rng: Random, words: Lexicon, patient: Patient, style: Style) -> None:
        self.rng, self.words, self.patient, self.style = rng, words, patient, style
        self.region = rng.choice(REGIONS)
        self.decks: dict[str, list[Term]] = {}
        self.pending: dict[str, Term] = {}
        self.last, self.lab, self.problem = words.of("home")[0], words.of("lab")[0], words.of("dx")[0]
        acute = rng.sample(words.of("ac"), rng.choice((1, 1, 2)))
        unlabelled = [term for term in words.of("dx") if not term.category and term.suits(patient.female)]
        self.plan = {
            "dx": list(patient.chronic) or [rng.choice(unlabelled).concept],
            "ac": sorted({term.concept for term in acute}),
            "sx": [*self._concepts("sx", 3), rng.choice([t for t in words.of("sx") if words.treatments(t)]).concept],
            "fi": self._concepts("fi", 2, self.region),
            "fx": self._concepts("fx", 1, self.region),
            **{f"sg {part}": self._concepts("sg", 1, part) for part in ("general", "skin", "lung")},
        }
        self.true = {concept for concepts in self.plan.values() for concept in concepts}
        self.labels = set(patient.chronic_labels) | {term.category for term in acute} - {""}
        self.stop = dict.fromkeys(self.plan, 0)

    def _concepts(self, kind: str, count: int, region: str = "") -> list[str]:
        return sorted({term.concept for term in self.rng.sample(self.words.of(kind, region), count)})

    def deal(self, key: str, pool: list[Term]) -> Term:
        """The next term of a shuffled deck, so that lists in a note do not repeat at once."""
        if not self.decks.get(key):
            self.decks[key] = self.rng.sample(pool, len(pool))
        return self.decks[key].pop()

    def affirmed(self, kind: str, argument: str = "") -> Term:
        """A way to say the next thing that is true of this note, or the one a drug was chosen for."""
        if kind in self.pending:
            return self.pending.pop(kind)
        key = f"{kind} {argument or 'general'}" if kind == "sg" else kind
        concepts = self.plan[key]
        concept = concepts[self.stop[key] % len(concepts)]
        self.stop[key] += 1
        return self.deal(f"{kind} {concept}", self.words.names(kind, concept))

    def absent(self, kind: str, argument: str = "") -> Term:
        """A problem that this note never affirms, nor any with the same note label."""
        finding = kind in ("fi", "fx")
        pool = [
            term
            for each in (("fi", "fx") if finding and not argument else (kind,))
            for term in self.words.of(each, self.region if finding else argument)
            if term.concept not in self.true
            and term.suits(self.patient.female)
            and (not term.category or term.category not in self.labels)
        ]
        return self.deal(f"no {kind} {argument}", pool)

    def drug(self, use: str) -> Term:
        """A home drug of the patient, or one of another use."""
        if use != "home":
            return self.deal(use, self.words.of(use))
        if not self.decks.get("home"):
            known = [self.rng.choice(self.words.names("home", concept)) for concept in self.patient.drugs]
            self.decks["home"] = self.rng.sample(known, len(known))
        return self.decks["home"].pop()

    def choose(self, name: str) -> Term:
        """The drug for a medication slot."""
        return self.drug(name) if name in DRUG_USES else self.remedy(DRUG_SLOTS[name])

    def remedy(self, kind: str) -> Term:
        """A drug for the problem slot of that kind that comes next, or without a kind for the last problem."""
        if not kind:
            pool = self.words.treatments(self.problem)
            return self.rng.choice(pool) if pool else self.drug("prn" if self.problem.kind == "sx" else "home")
        for _ in self.plan[kind]:
            problem = self.affirmed(kind)
            pool = self.words.treatments(problem)
            if pool:
                break
        self.pending[kind] = problem
        return self.rng.choice(pool) if pool else self.drug("prn")

    def fill(self, name: str, argument: str) -> Piece:
        """The piece for `{name:argument}`: an entity from the vocabulary, or plain text."""
        kinds = ("dx", "ac", "sx", "sg", "fi", "fx")
        if name in kinds:
            self.problem = self.affirmed(name, argument)
            return Piece(self.problem.surface, "PROBLEM")
        for prefix, state in STATE_OF.items():
            if name.startswith(prefix) and name.removeprefix(prefix) in kinds:
                return Piece(self.absent(name.removeprefix(prefix), argument).surface, "PROBLEM", state)
        if name in DRUG_SLOTS:
            self.last = self.pending.pop("drug") if "drug" in self.pending else self.choose(name)
            return Piece(self.last.surface, "MEDICATION")
        if name == "dose":
            if argument:
                self.last = self.pending["drug"] = self.choose(argument)
            return Piece(self._dose(), "DOSE")
        if name == "units":
            return Piece(f"{self.rng.randrange(2, 11)} units", "DOSE")
        if name in WHOLE_LABEL:
            return Piece(self._named(name, argument).surface, WHOLE_LABEL[name])
        return Piece(self._plain(name, argument))

    def _dose(self) -> str:
        return self.rng.choice(self.style.dose_forms).join(self.rng.choice(self.last.options).split(" "))

    def _named(self, name: str, argument: str) -> Term:
        region = argument or (self.region if name in ("img", "anat", "site") else "")
        pool = self.words.of("anat" if name == "site" else name, region)
        if name == "anat" and not argument:
            pool = pool + self.words.of("anat", f"{region} organ")
        term = self.deal(f"{name} {region}", pool)
        if name == "lab":
            self.lab = term
        return term

    def _plain(self, name: str, argument: str) -> str:
        rng, style = self.rng, self.style
        if name == "n":
            low, high = argument.split("-")
            return str(rng.randrange(int(low), int(high) + 1))
        if name == "val":
            return self._value(argument)
        if name in ("route", "freq"):
            table = style.routes if name == "route" else style.frequencies
            return rng.choice(table[self.last.form])
        fixed = {"name": style.names, "date": style.dates, "place": style.places}
        if name in fixed:
            return rng.choice(fixed[name])
        return self._simple(name)

    def _value(self, part: str) -> str:
        """A value of the lab named last, in the lowest or highest quarter if asked."""
        low, high, digits = (int(field) for field in self.lab.options[:3])
        quarter = (high - low) // 4
        low, high = (low, low + quarter) if part == "low" else (high - quarter, high) if part == "high" else (low, high)
        drawn = self.rng.randrange(low, high + 1)
        return f"{drawn // 10**digits}.{drawn % 10**digits:0{digits}d}" if digits else str(drawn)

    def _simple(self, name: str) -> str:
        rng, woman = self.rng, self.patient.female
        table = {
            "unit": self.lab.options[3],
            "age": str(self.patient.age) if self.patient.age < 90 else "[**Age over 90**]",
            "he": "she" if woman else "he",
            "He": "She" if woman else "He",
            "his": "her" if woman else "his",
            "His": "Her" if woman else "His",
            "him": "her" if woman else "him",
            "man": "woman" if woman else "man",
            "male": "female" if woman else "male",
            "sex": "F" if woman else "M",
            "bp": f"{rng.randrange(88, 196)}/{rng.randrange(48, 104)}",
            "hr": str(rng.randrange(52, 131)),
            "rr": str(rng.randrange(12, 31)),
            "sat": str(rng.randrange(86, 100)),
            "temp": f"{rng.randrange(96, 103)}.{rng.randrange(10)}",
            "celsius": f"{rng.randrange(36, 40)}.{rng.randrange(10)}",
            "time": f"{rng.randrange(24):02d}{rng.choice((':', ':', ''))}{rng.randrange(60):02d}",
            "mm": str(rng.randrange(3, 38)),
            "side": rng.choice(("right", "left")),
        }
        return table[name]
