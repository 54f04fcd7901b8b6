"""The built-in demo set, drawn by a program."""
