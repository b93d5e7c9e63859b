"""Sockets to links: the only rooms that know trio and sockets."""
