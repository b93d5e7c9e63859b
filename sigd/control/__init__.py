"""The admin socket: answers the requests of `sigctl`.

Reading order: `operated` (the daemon's side), `desk` (permissions), `asker` (one connection), `typed` (typed
requests), `answers` with `state`, `findings` and `rows`, and `tap`.
"""
