"""What a daemon refuses to start with: each refusal says what to write where."""

import pytest

from sigd.config import Auth, Config, HmacEntry, Listener, TokenEntry, load
from sigd.config.trust import DATAGRAM_ADVICE, INSECURE_ADVICE, MIXED_ADVICE, PLAINTEXT_ADVICE
from tests.configs import faults_in, faults_of, loaded

CREDENTIALS = {
    "token": '[[auth.token]]\nsecret_file = "/s"\nregister = ["*"]\n',
    "hmac": '[[auth.hmac]]\nsecret_file = "/h"\n',
    "jwt": '[[auth.jwt]]\nalgorithm = "ES256"\nkey_file = "/k"\nissuer = "i"\naudience = "a"\n',
}
BEYOND = "tcp://192.0.2.1:1"
CERTIFIED = 'certificate = "/c"\nkey = "/k"\n'


def listener(url: str, *more: str) -> str:
    return f'[[listen]]\nurl = "{url}"\n' + "".join(f"{line}\n" for line in more)


def test_the_advice_says_what_to_write_where():
    assert INSECURE_ADVICE == (
        "listening beyond loopback needs credentials: configure [auth], or set `insecure = true` (on the command line:"
        " --set insecure=true) to let any client claim any ID, or use 127.0.0.1, [::1] or a unix: path"
    )
    assert PLAINTEXT_ADVICE == (
        "credentials would cross the network unencrypted: listen on tls://, with `certificate` and `key`,"
        " or set `plaintext = true` in this [[listen]]"
    )
    assert MIXED_ADVICE == (
        "credentials could cross the network unencrypted: tcp:// with a certificate also accepts plain text;"
        " write tls:// instead of tcp://, or set `plaintext = true` in this [[listen]]"
    )
    assert DATAGRAM_ADVICE == (
        "datagrams can be forged, and only those of [[auth.hmac]] peers are authenticated: add such a credential,"
        " or listen on dtls:// or tls://, or set `plaintext = true` in this [[listen]]"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "", "192.0.2.1", "[2001:db8::1]"])
@pytest.mark.parametrize("deny", ["", '[auth]\ndeny = ["*"]\n'])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_beyond_loopback_without_credentials_only_where_insecure_is_set(scheme, host, deny):
    url = f"{scheme}://{host}:1"
    assert faults_in(listener(url) + deny) == [f'F:1:3: "{url}" is not a loopback address: {INSECURE_ADVICE}']
    assert loaded("insecure = true\n" + listener(url) + deny).listen == (Listener(url),)
    assert faults_of(lambda: load(None, [url])) == [
        f'--listen {url}: "{url}" is not a loopback address: {INSECURE_ADVICE}'
    ]
    assert load(None, [url], ["insecure=true"]).listen == (Listener(url),)


def test_loopback_and_unix_need_no_leave():
    urls = ("tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:2", "udp://[::1]:1", "unix:/run/x?mode=0666")
    assert load(None, urls).listen == tuple(map(Listener, urls))


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS.keys())
class TestBearerCredentials:
    def test_beyond_loopback_need_tls(self, credential):
        expected = [f'F:1:3: "{BEYOND}" is not a loopback address: {PLAINTEXT_ADVICE}']
        assert faults_in(listener(BEYOND) + credential) == expected

    def test_need_more_than_a_certificate_beside_plain_text(self, credential):
        expected = [f'F:1:3: "{BEYOND}" is not a loopback address: {MIXED_ADVICE}']
        assert faults_in(listener(BEYOND, CERTIFIED) + credential) == expected

    def test_may_cross_where_it_is_said(self, credential):
        assert faults_in(listener(BEYOND, "plaintext = true") + credential) == []
        assert faults_in(listener(BEYOND, CERTIFIED, "plaintext = true") + credential) == []
        assert faults_in(listener(BEYOND.replace("tcp", "tls"), CERTIFIED) + credential) == []

    def test_each_listener_counts_by_itself(self, credential):
        text = listener(BEYOND, "plaintext = true") + listener("tcp://192.0.2.2:1") + listener("tcp://127.0.0.1:1")
        (fault,) = faults_in(text + credential)
        assert fault.startswith('F:4:3: "tcp://192.0.2.2:1" is not a loopback address: credentials would cross')

    def test_may_be_used_in_this_machine(self, credential):
        assert faults_in('listen = ["tcp://127.0.0.1:1", "tcp://[::1]:1", "unix:/a"]\n' + credential) == []

    def test_contradict_insecure(self, credential):
        expected = ["F:1:1: `insecure = true` contradicts the credentials in [auth]: remove one of the two"]
        assert faults_in("insecure = true\n" + credential) == expected
        assert faults_in("insecure = true\n" + listener(BEYOND) + credential) == expected


IN_DATAGRAMS = BEYOND.replace("tcp", "udp")
OVER_DTLS = BEYOND.replace("tcp", "dtls")


class TestDatagrams:
    @pytest.mark.parametrize("kind", ["token", "jwt"])
    def test_beyond_loopback_need_a_credential_that_authenticates_them(self, kind):
        text = listener(IN_DATAGRAMS) + CREDENTIALS[kind]
        assert faults_in(text) == [f'F:1:3: "{IN_DATAGRAMS}" is not a loopback address: {DATAGRAM_ADVICE}']
        assert faults_in(text + CREDENTIALS["hmac"]) == []

    def test_certificates_are_none(self):
        tls = listener("tls://127.0.0.1:2", CERTIFIED, 'client_ca = "/ca"')
        (fault,) = faults_in(listener(IN_DATAGRAMS) + tls + "[[auth.certificate]]\n")
        assert fault == f'F:1:3: "{IN_DATAGRAMS}" is not a loopback address: {DATAGRAM_ADVICE}'

    @pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS.keys())
    def test_may_be_plain_where_it_is_said_encrypted_or_in_this_machine(self, credential):
        assert faults_in(listener(IN_DATAGRAMS, "plaintext = true") + credential) == []
        assert faults_in(listener(OVER_DTLS, CERTIFIED) + credential) == []
        assert faults_in('listen = ["udp://127.0.0.1:1", "udp://[::1]:1"]\n' + credential) == []

    @pytest.mark.parametrize(
        ("text", "sealed"),
        [
            (listener(IN_DATAGRAMS) + CREDENTIALS["hmac"], True),
            (listener(IN_DATAGRAMS) + CREDENTIALS["hmac"] + CREDENTIALS["token"], True),
            (listener("udp://127.0.0.1:1") + CREDENTIALS["token"], True),
            (listener(IN_DATAGRAMS, "plaintext = true") + CREDENTIALS["hmac"], False),
            (listener(OVER_DTLS, CERTIFIED) + CREDENTIALS["hmac"], False),
            (listener(BEYOND, "plaintext = true") + CREDENTIALS["hmac"], False),
            ("insecure = true\n" + listener(IN_DATAGRAMS), False),
        ],
        ids=["hmac", "hmac and token", "loopback, judged where it is bound", "plaintext", "dtls", "tcp", "insecure"],
    )
    def test_count_only_when_they_are_authenticated(self, text, sealed):
        config = loaded(text)
        assert config.needs_seal(config.listen[0]) is sealed


def test_credentials_that_never_cross_may_be_shown_beside_plain_text():
    """Whoever speaks plain text there cannot show any, and is nobody."""
    text = listener(BEYOND, CERTIFIED, 'client_ca = "/ca"') + "[[auth.certificate]]\n"
    assert faults_in(text) == []


def test_client_certificates_need_a_listener_that_asks_and_somebody_who_may_have_one():
    certified = listener("tls://127.0.0.1:1", CERTIFIED)
    assert faults_in(certified + "[[auth.certificate]]") == [
        "F:6:8: no listener requests client certificates: add `client_ca` to a [[listen]]"
    ]
    nobody = "no [[auth.certificate]] entry accepts client certificates: add one, or remove `client_ca`"
    assert faults_in(listener("tls://127.0.0.1:1", CERTIFIED, 'client_ca = "/ca"')) == [f"F:6:1: {nobody}"]
    both = certified + listener("tls://127.0.0.1:2", CERTIFIED, 'client_ca = "/ca"') + "[[auth.certificate]]"
    assert faults_in(both) == []


def test_users_need_a_unix_listener():
    unix = '[[auth.unix]]\nregister = ["*"]\nusers = ["root"]'
    assert faults_in(unix) == [
        "F:1:8: no listener can identify local users: add one on a unix: path, or remove [[auth.unix]]"
    ]
    assert faults_in('listen = ["unix:/a", "tcp://127.0.0.1:1"]\n' + unix) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('[[auth.token]]\nsecret_file = "s/t"\nregister = ["*"]\n', 1),
        ("[[auth.tokens]]\n", 1),
        ("auth = 3\n", 1),
        ('[[auth.hmac]]\nsecret_file = "/s"\nregister = ["{"]\n', 1),
    ],
    ids=["a faulty file", "a misspelt kind", "no table", "a faulty glob"],
)
def test_no_guess_about_credentials_that_are_faulty(text, number):
    """Which of them there are nobody knows: advice about insecure would be wrong."""
    faults = faults_in(f'listen = ["{BEYOND}"]\n{text}')
    assert len(faults) == number
    assert "loopback" not in "".join(faults)


def test_no_guess_about_a_listener_that_is_faulty():
    assert faults_in(listener(BEYOND, 'plaintext = "yes"') + CREDENTIALS["hmac"]) == [
        'F:3:1: listen[0].plaintext: expected true or false, got "yes"'
    ]


@pytest.mark.parametrize(
    ("config", "text", "expected"),
    [
        (Config(), BEYOND, INSECURE_ADVICE),
        (Config(insecure=True), BEYOND, ""),
        (Config(auth=Auth(hmac=(HmacEntry("/s"),))), BEYOND, PLAINTEXT_ADVICE),
        (Config(auth=Auth(hmac=(HmacEntry("/s"),))), BEYOND.replace("tcp", "tls"), ""),
        (Config(auth=Auth(hmac=(HmacEntry("/s"),))), BEYOND.replace("tcp", "udp"), ""),
        (Config(auth=Auth(token=(TokenEntry("/s", ("*",)),))), BEYOND.replace("tcp", "udp"), DATAGRAM_ADVICE),
    ],
    ids=["none", "insecure", "hmac", "hmac and tls", "hmac and udp", "token and udp"],
)
def test_a_name_that_resolves_otherwise_later_is_judged_alike(config, text, expected):
    assert config.why_loopback_only(Listener(text, "/c" if "tls" in text else None)) == expected
