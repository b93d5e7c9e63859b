"""The rules in force: the configuration with the content of its files.

Reading order: `secret_files` and `certificates` (content of the files), `made` (the rules in force), `memory` (maximum
memory use against the memory limit).
"""
