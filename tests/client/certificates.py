"""What both ends of TLS need whose server is a test, with certificates that are good for one run."""

import ssl

from tests.certificates import authority, authority_file

LOCAL = ("127.0.0.1", "localhost")


def server(*names: str, of: str = "servers", clients: str | None = None) -> ssl.SSLContext:
    """A server that is called so, as the CA `of` says; with `clients` it takes none without a certificate of theirs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    authority(of).issue_cert(*(names or LOCAL)).configure_cert(context)
    if clients is not None:
        authority(clients).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client(*names: str, trusts: str = "servers") -> ssl.SSLContext:
    """A client that trusts a CA, with a certificate of its own if that has names."""
    context = ssl.create_default_context(cafile=authority_file(trusts))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if names:
        authority("clients").issue_cert(*names).configure_cert(context)
    return context
