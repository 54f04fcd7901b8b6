"""Grids and other pictures for people."""
