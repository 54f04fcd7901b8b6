"""Names of 0.1.0, kept for one version: see `i2icli.translation`."""
