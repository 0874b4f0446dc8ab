"""Proof that nothing touches the network: a namespace with loopback alone, a tracer, and decoys that it must catch."""
