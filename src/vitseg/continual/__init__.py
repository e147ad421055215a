"""Learning classes in steps: the protocol, its metrics, and the approaches that it compares."""
