"""Diagnosis of failed calls: rules over the relay's record of two peers. No I/O, no clock.

Reading order: `addresses` (reach of an address), `flaws` (texts that stacks refuse), `candidates`, `sdp` and `bodies`
(content of a message), `facts` (other knowledge of a peer), `calls` (messages grouped into calls), `detectors`,
`described`, `trickling` and `reach` (possible faults), `judge` (choice of the leading rule), `verdict` (the answer).
"""
