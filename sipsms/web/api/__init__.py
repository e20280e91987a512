"""HTTP APIs that programs send by."""
