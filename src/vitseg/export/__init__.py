"""Trained models as files for other runtimes, with a proof that the masks are the same."""
