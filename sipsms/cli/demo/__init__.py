"""The demo, started by `make run`: all main functions with a real server and real phones."""
