"""Makes the synthetic clinical notes of `data/notes`; standard library only, every draw from a seeded generator."""
