"""Nouns and pure tools that every other package uses; imports no other package of sipsms."""
