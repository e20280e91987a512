"""E-mail: what a message looks like as one, and the way to the mail server."""
