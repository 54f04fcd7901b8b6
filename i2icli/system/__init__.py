"""Device, memory, processes, downloads and archives: what the rest asks the machine for."""
