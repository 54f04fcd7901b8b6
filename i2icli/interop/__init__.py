"""Checkpoints that the papers' released codes wrote, read into checkpoints of i2i."""
