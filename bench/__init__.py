"""sigd measured side by side with what a user would pick instead: `python -m bench`.

Reading order: `load.c` (the load generator), `servers` (what is measured and how it is started), `rates` (a daemon that
says what its rates cost), `measure` (scenarios, rounds, samples), `report` (medians, ratios, tables), `targets` (the
figures to hold), `__main__` (the command).
"""
