"""A published row: what it needs, its training and evaluation, and the row beside the published one."""
