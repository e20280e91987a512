"""Routing: the dialplan and the numbering policy, pure decisions about a message."""
