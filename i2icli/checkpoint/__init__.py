"""The self-describing checkpoint file: written atomically, read without running code."""
