"""Losses of the baselines of learning in steps."""
