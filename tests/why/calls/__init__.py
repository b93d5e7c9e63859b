"""Recorded calls between real stacks, and the script that records them."""
