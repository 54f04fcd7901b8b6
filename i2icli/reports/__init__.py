"""A run as one page: curves, scores, samples."""
