"""Until when the certificate of a listener is good."""

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

from sigd.net.tls import context_for
from sigd.rules.certificates import expiry, not_after
from tests import certificates


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
