"""The daemon, put together.

Reading order: `doors` (what is listened on), `daemon` (what can be done to it), `serving` (its life); as a service
`systemd` (the protocol), `service` and `restarting`.
"""
