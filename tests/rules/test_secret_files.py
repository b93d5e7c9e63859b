"""Secrets, keys and users that the configuration names: what is taken, and what is refused with which words."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sigd.config import StartError
from sigd.rules.secret_files import (
    LARGEST_FILE,
    locate,
    read_private,
    read_public,
    read_secrets,
    resolve_groups,
    resolve_users,
)

SECRET = b"0123456789abcdef"
READERS = [read_secrets, read_private, read_public]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture
def file(folder: Path) -> Iterator[Path]:
    """A path at which each test puts what it reads."""
    path = folder / "secret"
    yield path
    path.unlink(missing_ok=True)


def written(file: Path, content: bytes, mode: int = 0o600) -> str:
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


def fault(attempt, *arguments) -> str:
    """What is refused, with the path in front, which every fault of a file has."""
    with pytest.raises(StartError) as refused:
        attempt(*arguments)
    assert str(refused.value) == f"{refused.value.where}: {refused.value.what}"
    assert refused.value.__cause__ is None
    return str(refused.value)


# Secrets, line by line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (SECRET, (SECRET,)),
        (SECRET + b"\n", (SECRET,)),
        (b"new-new-new-new-\nold-old-old-old-\n", (b"new-new-new-new-", b"old-old-old-old-")),
        (b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", (b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",)),
        (b"#0123456789abcdef", (b"#0123456789abcdef",)),
    ],
)
def test_secrets_are_lines_the_first_in_front(file, content, expected):
    assert read_secrets(written(file, content)) == expected


ONE_PER_LINE = (
    "contains a space, a control character or a non-ASCII character:"
    " write one secret per line, as made by `openssl rand -base64 32`"
)
BLANK = "is blank: remove it (an empty secret would admit everybody)"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n", f"line 1 {BLANK}"),
        (b" \n", f"line 1 {BLANK}"),
        (b"\t", f"line 1 {BLANK}"),
        (SECRET + b"\n\n", f"line 2 {BLANK}"),
        (SECRET + b"\n\n" + SECRET, f"line 2 {BLANK}"),
        (b"\n" + SECRET, f"line 1 {BLANK}"),
        (b"0123456789 abcdef", f"line 1 {ONE_PER_LINE}"),
        (b" 0123456789abcdef", f"line 1 {ONE_PER_LINE}"),
        (SECRET + b"\n" + SECRET + b"\t\n", f"line 2 {ONE_PER_LINE}"),
        (b"0123456789abcde\0", f"line 1 {ONE_PER_LINE}"),
        (b"0123456789abcde\x7f", f"line 1 {ONE_PER_LINE}"),
        (b"0123456789abcde\x85", f"line 1 {ONE_PER_LINE}"),
        ("0123456789abcd\u00e9".encode(), f"line 1 {ONE_PER_LINE}"),
        (b"\xef\xbb\xbf" + SECRET, f"line 1 {ONE_PER_LINE}"),
        (SECRET + b"\r" + SECRET, f"line 1 {ONE_PER_LINE}"),
        (SECRET + b"\r\n", "line 1 ends in CR LF: save the file with LF line ends"),
        (SECRET + b"\r", "line 1 ends in CR LF: save the file with LF line ends"),
        (b"\r\n", "line 1 ends in CR LF: save the file with LF line ends"),
    ],
)
def test_what_is_no_secret_is_refused_by_its_line(file, content, expected):
    path = written(file, content)
    assert fault(read_secrets, path) == f"{path}: {expected}"


def test_a_secret_that_could_be_guessed_is_refused_with_how_to_make_one(file):
    path = written(file, SECRET + b"\n" + SECRET[:-1] + b"\n")
    expected = f"{path}: line 2 is shorter than 16 characters and could be guessed: openssl rand -base64 32 > {path}"
    assert fault(read_secrets, path) == expected
    assert read_secrets(path, 15) == (SECRET, SECRET[:-1])
    assert "line 1 is shorter than 32 characters" in fault(read_secrets, path, 32)


def test_what_a_fault_says_to_type_survives_a_shell(folder):
    path = written(folder / "a b'c", b"short")
    assert fault(read_secrets, path).endswith(f"openssl rand -base64 32 > '{folder}/a b'\"'\"'c'")


@given(st.lists(st.binary(max_size=40) | st.just(SECRET), max_size=4).map(b"\n".join))
@example(b"hunter2hunter2hunter2 \n")
def test_any_content_is_secrets_or_refused_without_a_word_of_it(folder, content):
    path = written(folder / "any", content)
    try:
        secrets = read_secrets(path)
    except StartError as error:
        said = str(error).removeprefix(f"{path}: ") + repr(error).replace(path, "")
        for word in content.split():
            assert len(word) < 8 or word.decode("latin-1") not in said
    else:
        assert b"\n".join(secrets) in {content, content.removesuffix(b"\n")}
        assert all(len(secret) >= 16 and secret.isascii() and secret.decode().isprintable() for secret in secrets)


# Files


def test_keys_and_certificates_are_taken_as_they_are(file):
    content = b"-----BEGIN ...\r\n\xff\0\n\n"
    assert read_private(written(file, content)) == content
    assert read_public(written(file, content, 0o666)) == content
    assert read_private(written(file, content, 0o660)) == content


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o777, 0o407])
@pytest.mark.parametrize("read", [read_secrets, read_private])
def test_what_others_may_use_is_no_secret(file, read, mode):
    path = written(file, SECRET, mode)
    expected = f"{path}: other users than its owner and group have access (mode {mode:04o}): chmod o= {path}"
    assert fault(read, path) == expected
    file.chmod(mode & ~0o007)
    assert read(path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640, 0o660, 0o770])
@pytest.mark.parametrize("read", [read_secrets, read_private])
def test_owner_and_group_may_use_it(file, read, mode):
    assert read(written(file, SECRET, mode))


@pytest.mark.parametrize("read", READERS)
class TestEveryFile:
    def test_must_exist(self, file, read):
        assert fault(read, str(file)) == f"{file}: no such file: create it, or correct the path"
        file.write_text("x")
        assert fault(read, f"{file}/x") == f"{file}/x: a part of its path is not a folder: correct the path"

    def test_must_not_be_empty(self, file, read):
        path = written(file, b"")
        assert fault(read, path) == f"{path}: the file is empty: fill it, or correct the path"

    def test_must_not_be_a_folder(self, folder, read):
        assert fault(read, str(folder)) == f"{folder}: is a folder: name the file in it"

    def test_must_be_a_regular_file_and_keeps_nobody_waiting(self, file, folder, read):
        os.mkfifo(file, 0o600)
        assert fault(read, str(file)) == f"{file}: not a regular file: name the file that holds it"
        assert fault(read, "/dev/zero") == "/dev/zero: not a regular file: name the file that holds it"
        path = folder / "sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            assert fault(read, str(path)) == f"{path}: not a regular file: name the file that holds it"
        path.unlink()

    def test_may_be_reached_by_a_symbolic_link_and_is_what_is_judged(self, file, folder, read):
        target = folder / "target"
        written(target, SECRET)
        file.symlink_to(target)
        assert read(str(file))
        if read is not read_public:
            target.chmod(0o604)
            assert "have access (mode 0604)" in fault(read, str(file))
        target.unlink()
        assert "no such file" in fault(read, str(file))
        target.symlink_to(file)
        assert fault(read, str(file)) == f"{file}: its symbolic links lead in a circle: correct the path"
        target.unlink()

    def test_has_an_end(self, file, read):
        path = written(file, b"x" * LARGEST_FILE)
        assert read(path) in (b"x" * LARGEST_FILE, (b"x" * LARGEST_FILE,))
        path = written(file, b"x" * (LARGEST_FILE + 1))
        assert fault(read, path) == f"{path}: larger than 65536 bytes: is this the right file?"

    def test_must_be_readable(self, file, folder, read):
        path = written(file, SECRET, 0)
        with as_nobody(folder):
            advice = "make it readable to the user of sigd, for example with chgrp sigd and chmod 0640"
            assert fault(read, path) == f"{path}: permission denied: {advice}"

    def test_of_a_name_that_is_none(self, read):
        assert fault(read, "/a\0b") == "/a\\x00b: cannot be read: its name contains a NUL"

    def test_other_troubles_are_the_systems_words(self, read):
        name = "/" + "x" * 300
        assert fault(read, name) == f"{name}: cannot be read: {os.strerror(errno.ENAMETOOLONG)}"

    def test_has_a_name_that_a_terminal_may_show(self, folder, read):
        path = folder / "\u00e9\x1b[2J"
        assert fault(read, str(path)) == f"{folder}/\\xe9\\x1b[2J: no such file: create it, or correct the path"


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Give up root's right to read everything, if these tests have it."""
    above = [path for path in (folder, *folder.parents) if path != Path("/") and path.stat().st_uid == os.geteuid()]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in above}
    root = os.geteuid() == 0
    for path in above if root else ():
        path.chmod(modes[path] | 0o011)  # only its own mode shall count
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


# Names of credentials


def test_an_absolute_path_is_itself(monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/sigd.service")
    assert locate("/etc/sigd/hmac") == "/etc/sigd/hmac"
    assert locate("hmac") == "/run/credentials/sigd.service/hmac"


@pytest.mark.parametrize("value", [None, ""])
def test_a_credential_without_systemd(monkeypatch, value):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if value is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", value)
    expected = (
        "hmac: a plain name means a systemd credential, and systemd has passed none ($CREDENTIALS_DIRECTORY is not"
        " set): use an absolute path, or add LoadCredential=hmac:/PATH to the unit"
    )
    assert fault(locate, "hmac") == expected
    for read in READERS:
        assert fault(read, "hmac") == expected


@pytest.mark.parametrize("read", READERS)
def test_a_credential_of_systemd(monkeypatch, folder, file, read):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    written(file, SECRET, 0o440)
    assert read("secret") in (SECRET, (SECRET,))
    assert fault(read, "other") == f"{folder}/other: no such file: create it, or correct the path"


# Users and groups


def test_users_and_groups_by_name_or_number():
    assert resolve_users([]) == frozenset()
    assert resolve_users(["root", "0", "1234567"]) == {0, 1_234_567}
    assert resolve_groups(["root", "4294967294"]) == {0, 4_294_967_294}


@pytest.mark.parametrize(
    ("resolve", "name", "expected"),
    [
        (resolve_users, "no-such-user", 'user "no-such-user": this machine has no such user: create it, or'),
        (resolve_groups, "no-such-group", 'group "no-such-group": this machine has no such group: create it, or'),
        (resolve_users, "a\0b", 'user "a\\x00b": this machine has no such user: create it, or'),
        (resolve_users, "65534", 'user "65534": is number 65534, which stands for all users'),
        (resolve_users, "nobody", 'user "nobody": is number 65534, which stands for all users'),
        (resolve_groups, "nogroup", 'group "nogroup": is number 65534, which stands for all users'),
        (resolve_groups, "65534", 'group "65534": is number 65534, which stands for all users'),
        (resolve_users, "4294967295", 'user "4294967295": is above 4294967294, the largest number of a user'),
    ],
)
def test_who_is_nobody(resolve, name, expected):
    assert fault(resolve, ["root", name]).startswith(expected)
