"""The formats of people's own masks: one file per format, all giving the same `SegmentationDataset`."""
