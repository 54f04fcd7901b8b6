"""The training loop, its step and its session. It knows no method by name."""
