"""Typed configuration: sections of a run, preset files, overrides. Imports no torch."""
