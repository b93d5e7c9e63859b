"""What is asked of certificates, of the control group and of the counters."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sigd.control.samples import LATELY_SECONDS, Samples
from sigd.net.tls import context_for
from sigd.rules.certificates import expiry, not_after
from sigd.rules.memory import memory_max
from sigd.wire.errors import ErrorCode
from tests import certificates
from tests.relay.world import World


def certificate(ends: datetime.datetime, folder: Path) -> tuple[x509.Certificate, str, str]:
    """A certificate that ends then, and the files that it and its key are in."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    begins = min(ends, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made, str(folder / "cert.pem"), str(folder / "key.pem")


ENDS = [
    datetime.datetime(1999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
    datetime.datetime(2027, 2, 28, 12, 0, 1, tzinfo=datetime.UTC),
    datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
    datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
]
"""Two digits of the year up to 2049, four from then on."""


@pytest.mark.parametrize("ends", ENDS, ids=[str(ends.year) for ends in ENDS])
def test_until_when_a_certificate_is_good(ends: datetime.datetime, tmp_path: Path) -> None:
    made, chain, key = certificate(ends, tmp_path)
    assert not_after(made.public_bytes(Encoding.DER)) == ends.timestamp()
    assert expiry(context_for("tls://", chain, key, None, client_required=False)) == ends.timestamp()


def test_what_clients_see_counts_and_not_the_file(tmp_path: Path) -> None:
    _, chain, key = certificate(ENDS[1], tmp_path)
    context = context_for("tls://", chain, key, None, client_required=False)
    certificate(ENDS[2], tmp_path)
    assert expiry(context) == ENDS[1].timestamp()


def test_a_listener_that_wants_to_see_one_shows_its_own(tmp_path: Path) -> None:
    certificates.authority("clients")
    authorities = str(certificates.folder() / "clients-ca.pem")
    _, chain, key = certificate(ENDS[1], tmp_path)
    assert expiry(context_for("tls://", chain, key, authorities, client_required=True)) == ENDS[1].timestamp()


def test_of_a_listener_that_does_not_shake_hands_nothing_is_known(tmp_path: Path) -> None:
    _, chain, key = certificate(ENDS[1], tmp_path)
    context = context_for("tls://", chain, key, None, client_required=False)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert expiry(context) is None


@given(st.binary(max_size=64))
def test_what_is_no_certificate_is_refused_as_that(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        not_after(data)


def test_what_is_cut_short_is_refused_as_that(tmp_path: Path) -> None:
    whole = certificate(ENDS[1], tmp_path)[0].public_bytes(Encoding.DER)
    for end in range(len(whole)):
        with pytest.raises((ValueError, IndexError)):
            not_after(whole[:end])


# -- memory


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A tree of control groups, in the third of which we are."""
    folder = tmp_path / "groups"
    (folder / "system.slice" / "sigd.service").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("1:cpu:/elsewhere\n0::/system.slice/sigd.service\n")
    return folder


@pytest.mark.parametrize(
    ("own", "around", "expected"),
    [
        ("max\n", "max\n", None),
        ("1000\n", "max\n", 1000),
        ("max\n", "2000\n", 2000),
        ("1000\n", "2000\n", 1000),
        ("3000\n", "2000\n", 2000),
        (None, "2000\n", 2000),
        ("?", None, None),
    ],
)
def test_the_least_bound_around_counts(
    groups: Path, tmp_path: Path, own: str | None, around: str | None, expected: int | None
) -> None:
    for folder, text in ((groups / "system.slice" / "sigd.service", own), (groups / "system.slice", around)):
        if text is not None:
            (folder / "memory.max").write_text(text)
    assert memory_max(tmp_path / "cgroup", groups) == expected


@pytest.mark.parametrize("text", [None, "", "4:memory:/x\n", "0::/\n"])
def test_without_a_group_there_is_no_bound(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cgroup").write_text(text)
    assert memory_max(tmp_path / "cgroup", tmp_path) is None


# -- counters


def test_the_rate_is_that_of_ten_seconds() -> None:
    world, samples = World(), Samples()
    assert samples.relayed_per_second == 0
    samples.take(world.router, 0.0)
    assert samples.relayed_per_second == 0
    for second in range(1, 31):
        world.router.relayed += 5 if second > 20 else 100
        samples.take(world.router, float(second))
        if second == 4:
            assert samples.relayed_per_second == 100
    assert samples.relayed_per_second == 5


def test_what_has_risen_is_known_for_a_minute() -> None:
    world, samples = World(), Samples()
    world.router.limits_hit["max_frame"] += 1
    samples.take(world.router, 0.0)
    world.router.limits_hit["max_per_address"] += 1
    world.router.errors[ErrorCode.AUTH_FAILED] += 1
    samples.look(world.router, 30.0)
    samples.look(world.router, 40.0)
    assert samples.limits.lately(40.0) == ["max_frame", "max_per_address"]
    assert samples.errors.lately(40.0) == ["auth-failed"]
    assert samples.limits.lately(LATELY_SECONDS) == ["max_per_address"]
    assert samples.limits.lately(30.0 + LATELY_SECONDS) == []
