"""Messaging: gateway, queue, outbound checks, delivery reports, opt-out, media."""
