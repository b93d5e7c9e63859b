"""Figures for Prometheus, and whether the daemon is well, over HTTP on loopback. Needs the extra `metrics`.

Reading order: `process` (what the kernel counts), `exposition` (all figures as text), `pages` (what is asked for),
`listener` (HTTP). What counts is where things happen: the router, the reactor.
"""

import importlib.util
from typing import Final

_NEEDED: Final = {"prometheus_client": "prometheus-client", "h11": "h11"}


def missing() -> str:
    """What is not installed of the extra, and what to do; nothing if all of it is. Nothing is loaded for that."""
    for module, name in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed: make install EXTRAS=metrics, or pip install '.[metrics]' in a clone"
    return ""
