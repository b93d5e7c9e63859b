"""Certificates that no authority of this world has signed: one CA for servers, one for clients, made once per run."""

import atexit
import functools
import shutil
import ssl
import tempfile
from pathlib import Path

import trustme

from sigd.config import Listener


@functools.cache
def folder() -> Path:
    """Where their files are, until the tests end."""
    path = Path(tempfile.mkdtemp(prefix="sigd-certificates-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def authority(name: str) -> trustme.CA:
    """The CA of this name; its certificate is in `folder()`, as `NAME-ca.pem`."""
    made = trustme.CA(organization_name=name)
    made.cert_pem.write_to_path(str(folder() / f"{name}-ca.pem"))
    return made


def authority_file(name: str) -> str:
    """The certificate of the CA of this name, to trust it alone: all those of the system take 50 ms to read."""
    authority(name)
    return str(folder() / f"{name}-ca.pem")


@functools.cache
def files(*names: str, of: str = "servers", common_name: str | None = None) -> tuple[str, str]:
    """A certificate with these names, signed by the CA `of`: paths of its chain and of its key."""
    made = authority(of).issue_cert(*names, common_name=common_name)
    stem = folder() / f"{of}-{'-'.join(names)}-{common_name or ''}"
    chain, key = Path(f"{stem}.pem"), Path(f"{stem}.key")
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(made.private_key_pem.bytes())
    return str(chain), str(key)


def listener(url: str, *, client_ca: str | None = None, plaintext: bool = False, **more: object) -> Listener:
    """A listener with a certificate for localhost, which takes client certificates of the CA named `client_ca`."""
    chain, key = files("localhost", "127.0.0.1")
    ca = None if client_ca is None else authority_file(client_ca)
    return Listener(url, certificate=chain, key=key, client_ca=ca, plaintext=plaintext, **more)  # type: ignore[arg-type]  # strings


def client_context(*names: str, of: str = "clients", common_name: str | None = None) -> ssl.SSLContext:
    """What a client needs that trusts the servers' CA, with a certificate of its own if that has names."""
    context = ssl.create_default_context(cafile=authority_file("servers"))
    if names or common_name:
        chain, key = files(*names, of=of, common_name=common_name)
        context.load_cert_chain(chain, key)
    return context
