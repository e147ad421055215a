"""How a model comes to its labels: one file per kind of explanation, which its method names."""
