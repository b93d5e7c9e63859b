"""Bytes to messages and back: the part that both ends share. No sockets, no trio, no clock."""
