"""What `i2i data` does: get, make, prepare, check and count data sets."""
