"""TOML with the place of every key: a library that knows no key of sigd.

Reading order: `places` (raw tables and the places of keys), `tables` (from raw tables to Structs, or to faults with
their places), `render` (the way back), `changes` (differences).
"""
