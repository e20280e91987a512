"""SIP: codec (uri, headers, message), machines (digest, transaction, registrar), transport, endpoint, server, client.

Everything left of `transport` is pure: bytes and time come in, values go out.
"""
