"""The native HTTP API, /v1: see docs/api/v1.md."""
