"""Data sets in shards: many images and masks in each of a few large files."""
