"""Acrobits' web services for messages."""
