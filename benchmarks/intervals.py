"""How often intervals hold the true micro F1, and how often tests find a difference that is not there.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --simulations 200

Each simulation draws patients with 1 to 8 notes on which a system is good or bad patient by patient; the true F1 is 0.8
by design (tests/evaluation/clusters.py). Intervals of 95 % should hold it in 95 of 100, and tests at 5 % should find a
difference between two equal systems in 5 of 100. 1,000 resamples, 999 rounds.
"""

import argparse
import sys
from pathlib import Path

import cells
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from clinnlp.evaluation.resample import f1_of
from clinnlp.evaluation.significance import approximate_randomization
from tests.evaluation.clusters import TRUE_F1, both_intervals, simulate

PATIENTS = (10, 20, 30, 50, 100)


def coverage(patients: int, simulations: int) -> dict[str, float]:
    """The share of intervals that hold the true F1."""
    generator, held = np.random.default_rng(patients), dict.fromkeys(("percentile", "bca", "percentile by note"), 0)
    for seed in range(simulations):
        counts, by_patient, by_note = simulate(generator, patients)
        for name, (low, high) in zip(
            ("percentile", "bca"), both_intervals(counts[0], f1_of, by_patient, seed), strict=True
        ):
            held[name] += low <= TRUE_F1 <= high
        low, high = both_intervals(counts[0], f1_of, by_note, seed)[0]
        held["percentile by note"] += low <= TRUE_F1 <= high
    return {name: count / simulations for name, count in held.items()}


def errors(patients: int, simulations: int) -> dict[str, float]:
    """The share of tests of two equal systems with p <= 0.05."""
    generator, found = np.random.default_rng(patients + 1), dict.fromkeys(("by patient", "by note"), 0)
    for seed in range(simulations):
        counts, by_patient, by_note = simulate(generator, patients, systems=2)
        for name, units in (("by patient", by_patient), ("by note", by_note)):
            found[name] += approximate_randomization(counts[0], counts[1], f1_of, units, seed, 999).p <= 0.05
    return {name: count / simulations for name, count in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulations", type=int, default=2000)
    given = parser.parse_args()
    rows = {
        str(patients): {
            "coverage": coverage(patients, given.simulations), "type_i_error": errors(patients, given.simulations)
        }
        for patients in PATIENTS
    }  # fmt: skip
    cells.write("intervals", {"simulations": given.simulations, "by_patients": rows})


if __name__ == "__main__":
    main()
