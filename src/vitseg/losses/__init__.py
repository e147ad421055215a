"""One loss per file: `SegOutput` and labels to scalars by name."""
