"""Kinds of keys that several tables share."""

from collections.abc import Callable

import pytest

from sigd.config.kinds import NAME, check_file_name, check_glob, check_named_glob, check_not_empty

LONGEST = "x" * 64


@pytest.mark.parametrize(
    ("check", "text"),
    [
        *((check_glob, each) for each in ("*", "cam*", "a.b_c~d-e", LONGEST)),
        *((check_named_glob, each) for each in ("cam*", NAME)),
        *((check_file_name, each) for each in ("/etc/sigd/secret", "secret", "/" + "x" * 4_094, "x" * 255)),
        *((check_not_empty, each) for each in ("x", "caf\xe9")),
    ],
)
def test_takes(check: Callable[[str], None], text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("check", "text", "fault"),
    [
        *((check_glob, each, "not a glob of peer IDs") for each in ("", "a b", "cam1\n", LONGEST + "x", NAME)),
        *((check_named_glob, each, "not a glob of peer IDs") for each in ("", "cam{name}", NAME + "*")),
        *((check_file_name, each, "neither an absolute path") for each in ("", ".", "..", "a/b", "x" * 256)),
        (check_file_name, "/etc/sigd/", "is a folder"),
        (check_file_name, "/" + "x" * 4_095, "4095"),
        (check_file_name, "a\nb", "control characters"),
        *((check_not_empty, each, "printable") for each in ("", "  ", "a\0")),
    ],
)
def test_refuses_with_the_remedy(check: Callable[[str], None], text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check(text)
