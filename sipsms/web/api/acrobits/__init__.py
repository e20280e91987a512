"""Acrobits' web services."""
