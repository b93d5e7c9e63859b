"""Pages and pictures of `docs` that are made from the code; `make docs` writes them, and a test fails on a stale one.

No page that is made here is edited by hand.
"""
