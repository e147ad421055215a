"""From what the official pages offer to what the loaders read: downloads, archives, conversions, counts."""
