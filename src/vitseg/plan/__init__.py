"""A training without a recipe: looking at the data and the device, choosing, and saying what was chosen and why."""
