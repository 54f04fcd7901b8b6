"""What a step, a run and a translation cost on this machine: bench, doctor, dry run."""
