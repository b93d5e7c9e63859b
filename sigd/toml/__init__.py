"""TOML whose every key has its place: a library, which knows no key of sigd.

Reading order: `places` (the raw tables, and where each key was written), `tables` (raw tables become Structs, or faults
with their places), `render` (the way back), `changes` (what differs).
"""
