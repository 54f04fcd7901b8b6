"""The training loop, its step, the run folder. It knows no method by name."""
