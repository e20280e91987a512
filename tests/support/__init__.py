"""What tests share: a real server process, and raw SIP over real sockets."""
