"""Label maps as files of labelling tools, to be corrected there; what reads such files is in `data/formats`."""
