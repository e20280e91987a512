"""sipsms: a SIP MESSAGE registrar and proxy, and an SMS gateway."""

__version__ = "0.1.0"
