"""Which images to label next: those that a model is unsure of, and that are unlike each other."""
