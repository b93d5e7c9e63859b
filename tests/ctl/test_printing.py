"""Colours of what `sigctl` prints."""

from sigd.ctl import printing


def test_colours_are_for_terminals_whose_owner_wants_them(monkeypatch):
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert printing.coloured("x", "fail") == "x"
    monkeypatch.setattr("sys.stdout", Terminal())
    assert printing.coloured("x", "fail") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("TERM", "dumb")
    assert printing.coloured("x", "fail") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert printing.coloured("x", "fail") == "x"
