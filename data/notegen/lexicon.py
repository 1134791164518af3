"""Which words a split may use, and the note label each problem stands for."""

from dataclasses import dataclass, field

from notegen.measures import ANATOMY, LAB_GROUPS, LABS, TESTS
from notegen.medications import MEDICATIONS, TREATMENTS
from notegen.problems import FEMALE_ONLY, MALE_ONLY, PROBLEMS

LABELS = (
    "cancer",
    "coronary_disease",
    "diabetes",
    "heart_failure",
    "hypertension",
    "infection",
    "mental_health",
    "neurological",
    "renal",
    "respiratory",
)
PROBLEM_KINDS = ("dx", "ac", "sx", "sg", "fi", "fx")
DRUG_USES = ("home", "abx", "prn", "drip", "alg", "cls")
WITHHELD = 4  # every fourth word of tier `a` is kept from train, so that dev has unseen words too


@dataclass(frozen=True)
class Term:
    """One surface: `concept` joins synonyms, `kind` says where it fits, `options` are doses or lab facts.

    `category` is a note label (of a problem) or the labels a drug is given for, separated by blanks.
    """

    surface: str
    concept: str
    kind: str
    category: str = ""
    region: str = ""
    form: str = ""
    options: tuple[str, ...] = ()

    def suits(self, female: bool) -> bool:
        """Whether the term fits a patient of that sex."""
        return self.concept not in (MALE_ONLY if female else FEMALE_ONLY)


@dataclass(frozen=True)
class Lexicon:
    """The terms of some tiers, by kind, in the order of the vocabulary."""

    by_kind: dict[str, list[Term]] = field(default_factory=dict)

    def of(self, kind: str, region: str = "") -> list[Term]:
        """The terms of a kind, of one region if a region is given."""
        return [term for term in self.by_kind[kind] if not region or term.region == region]

    def names(self, kind: str, concept: str) -> list[Term]:
        """Every way to say a concept."""
        return [term for term in self.by_kind[kind] if term.concept == concept]

    def treatments(self, problem: Term) -> list[Term]:
        """The drugs given for a problem: those named for it, else those that name its label."""
        drugs = [term for use in ("home", "abx", "prn", "drip", "acute") for term in self.by_kind[use]]
        named = GIVEN_FOR.get(problem.concept)
        if named:
            return [drug for drug in drugs if drug.concept in named]
        return [drug for drug in drugs if problem.category and problem.category in drug.category.split()]


def rows(table: str) -> list[list[str]]:
    """The fields of each line of a vocabulary table."""
    return [line.split("|") for line in table.strip().splitlines()]


def surfaces(text: str) -> list[tuple[str, str]]:
    """The (surface, concept) pairs of a comma list in which `@` names the concept."""
    pairs = [part.strip().partition("@") for part in text.split(",")]
    return [(name, concept or name) for name, _, concept in pairs]


def groups(table: str) -> dict[str, frozenset[str]]:
    """The comma lists of a table by the name before the bar."""
    return {name: frozenset(name for name, _ in surfaces(members)) for name, members in rows(table)}


GIVEN_FOR = groups(TREATMENTS)
LAB_GROUP = {lab: group for group, labs in groups(LAB_GROUPS).items() for lab in labs}


def all_terms() -> list[tuple[str, Term]]:
    """Every term of the vocabulary with its tier."""
    found = []
    for tier, kind, category, region, names in rows(PROBLEMS):
        for name, concept in surfaces(names):
            found.append((tier, Term(name, concept, kind, category.strip("-"), region.strip("-"))))
    for tier, use, given_for, form, doses, names in rows(MEDICATIONS):
        for name, concept in surfaces(names):
            found.append((tier, Term(name, concept, use, given_for.strip("-"), "", form, tuple(doses.split(";")))))
    for tier, name, *facts in rows(LABS):
        found.append((tier, Term(name, name, "lab", region=LAB_GROUP.get(name, ""), options=tuple(facts))))
    for tier, kind, region, names in rows(TESTS):
        for name, concept in surfaces(names):
            found.append((tier, Term(name, concept, kind, region=region)))
    for tier, region, names in rows(ANATOMY):
        for name, concept in surfaces(names):
            found.append((tier, Term(name, concept, "anat", region=region)))
    return found


def lexicon(tiers: str, withhold: bool = False) -> Lexicon:
    """The terms of the tiers named in `tiers`, a tier named twice being twice as likely.

    With `withhold`, without the words that only dev may show.
    """
    made = Lexicon()
    for place, (tier, term) in enumerate(all_terms()):
        if not (withhold and tier == "a" and place % WITHHELD == 0):
            made.by_kind.setdefault(term.kind, []).extend([term] * tiers.count(tier))
    return made


def categories() -> dict[str, str]:
    """The note label of each problem surface, casefolded; empty for those that give none."""
    return {term.surface.casefold(): term.category for _, term in all_terms() if term.kind in PROBLEM_KINDS}
