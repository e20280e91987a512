"""What tests share: SIP and SMPP peers on real sockets, servers in their own process, the core on a real store."""
