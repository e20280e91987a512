"""Kannel's API `sendsms`."""
