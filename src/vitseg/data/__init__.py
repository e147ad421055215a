"""Data sets: folders of images and masks, class tables, checks and augmentation."""
