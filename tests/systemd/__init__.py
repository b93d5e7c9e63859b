"""Units tested by running them: a real systemd, booted beside this machine's (systemd-box), with sigd installed there.

`test_*.py` run outside, one boot for each; what they show is in `inside_*.py`, which run in there as root.
"""
