"""Plain modules with plain arguments; they never see a configuration."""
