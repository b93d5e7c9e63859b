"""Why did two peers not connect? Rules over what the relay has seen of them. No I/O, no clock.

Reading order: `addresses` (where one can be reached from), `flaws` (for what stacks refuse a text), `candidates`, `sdp`
and `bodies` (what a message says), `facts` (what else is known of a peer), `calls` (which messages make a call),
`rules`, `described`, `trickling` and `reach` (what may be wrong with one), `judge` (which rule leads), `verdict` (the
answer).
"""
