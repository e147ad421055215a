"""Data sets: their formats, class tables, label maps and augmentation."""
