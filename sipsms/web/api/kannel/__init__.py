"""sendsms, the API of Kannel."""
