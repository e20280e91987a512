"""Nouns and pure tools that every other room uses; imports nothing of ours."""
