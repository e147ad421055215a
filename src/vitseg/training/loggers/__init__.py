"""Where the numbers of a run go besides its tables: one logger per file."""
