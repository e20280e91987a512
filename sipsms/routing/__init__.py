"""Routing: dialplan and numbering policy, pure decisions about a message."""
