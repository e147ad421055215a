"""Whether token pruning pays on a device and a data set: its settings and plainer ways, measured."""
