"""HTTP APIs by which programs send and read messages."""
