"""The published data sets: one file per data set, in the layout that its official download unpacks to."""
