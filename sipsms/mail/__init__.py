"""E-mail: messages as e-mails, and the courier to the mail server."""
