"""Helpers that tests share: SIP and SMPP peers on real sockets, servers in processes, the core on a real store."""
