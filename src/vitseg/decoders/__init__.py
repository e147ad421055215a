"""`Features` to an output (`outputs.py`)."""
