"""Tests of sigd.why."""
