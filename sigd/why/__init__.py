"""Why did two peers not connect? Rules over what the relay has seen of them. No I/O, no clock.

Reading order: `addresses` (where one can be reached from), `bodies` (what a message says), `facts` (what else is known
of a peer), `calls` (which messages make a call), `rules` and `reach` (what may be wrong with one), `judge` (which rule
leads), `verdict` (the answer).
"""
