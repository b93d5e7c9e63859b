"""The longer scenes of tests/test_hardening.py, which has the table that they belong to."""
