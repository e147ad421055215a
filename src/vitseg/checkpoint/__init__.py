"""Saving and loading models, and one file per foreign checkpoint format."""
