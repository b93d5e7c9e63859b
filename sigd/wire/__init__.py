"""Bytes to messages and back: what both ends must agree on. No sockets, no trio, no clock."""
