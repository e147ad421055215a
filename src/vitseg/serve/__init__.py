"""A server of trained models: HTTP in front, a queue that is bounded, and a process that runs them."""
