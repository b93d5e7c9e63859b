"""Puts it together. Reading order: doors (what is listened on), daemon (what can be done to it), serving (its life)."""

from sigd.server.daemon import Server
from sigd.server.serving import run, serve

__all__ = ["Server", "run", "serve"]
