"""Wildix' API, originate/sms."""
