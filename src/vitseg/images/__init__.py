"""From an image file to a model input: decode, resize, normalise, pad."""
