"""Images to `Segmentation`: predictor, sliding window, views, and the way from scores to labels."""
