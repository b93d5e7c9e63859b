"""The configuration with the files that it names: what holds.

Reading order: `secret_files` and `certificates` (what the files say), `made` (the rules in force), `memory` (what they
may come to need, and what this process may have).
"""
