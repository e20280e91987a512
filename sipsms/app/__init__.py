"""Composition: settings, the node with its parts, reload and housekeeping."""
