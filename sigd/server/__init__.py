"""The daemon as a whole.

Reading order: `doors` (listeners), `daemon` (operations), `serving` (its life); as a service `systemd` (the protocol),
`service` and `restarting`.
"""
