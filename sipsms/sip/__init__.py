"""SIP: codec, state machines, transports, endpoint, servers and trunks.

The codec (uri, headers, message) and the machines (digest, transaction, registrar, presence) are pure: bytes and time
come in as arguments, values go out. Only the transports, the endpoint, the servers, the courier and the trunks perform
I/O.
"""
