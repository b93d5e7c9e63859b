"""The admin socket: what `sigctl` asks is answered here.

Reading order: `operated` (what is needed of a daemon), `desk` (who may ask), `asker` (one connection), `commands`
(what a person types), `answers` with `state`, `findings` and `rows`, and `tap`.
"""
