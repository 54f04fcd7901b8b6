"""Pretrained weights: got, checked, and made into networks."""
