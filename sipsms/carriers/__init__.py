"""Carriers by HTTP: one file for each kind of carrier, each with `parse` (in) and `send` (out).

A carrier must not read the clock or open sockets itself: `CarrierTools` provides these."""
