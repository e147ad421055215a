"""`Features` to `SegOutput`."""
