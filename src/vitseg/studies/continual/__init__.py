"""Class-incremental learning as a study: the protocol, the baselines and their results side by side."""
