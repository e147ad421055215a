"""The pages of the studies: charts and tables. Needs no torch."""
