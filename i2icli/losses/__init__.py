"""Pure functions of tensors; they never see a configuration."""
