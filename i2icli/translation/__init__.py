"""Pictures through a checkpoint: the one path that samples, translate and evaluation share."""
