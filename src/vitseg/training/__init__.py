"""Training: recipe, optimiser, schedule and the loop."""
