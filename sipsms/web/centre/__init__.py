"""The message centre: pages for people."""
