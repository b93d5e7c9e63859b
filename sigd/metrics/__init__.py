"""Metrics for Prometheus and health checks, over HTTP on loopback. Needs the extra `metrics`.

Reading order: `process` (figures of the kernel), `exposition` (all metrics as text), `pages` (requests and answers),
`listener` (HTTP). The router and the reactor do the counting.
"""

import importlib.util
from typing import Final

_NEEDED: Final = {"prometheus_client": "prometheus-client", "h11": "h11"}


def missing() -> str:
    """Return which packages of the extra are missing, and the remedy; empty if none. Imports nothing."""
    for module, name in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed: make install EXTRAS=metrics, or pip install '.[metrics]' in a clone"
    return ""
