"""Datasets: the format, its reading and augmentation, and one file a source."""
