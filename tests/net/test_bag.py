"""Connections in a bag: all come out as they went in, or none."""

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from sigd.net import bag
from sigd.net.parcel import HandoverError
from tests.net.two_reactors import close_all


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connections, our end of each first."""
    made = [socket.socketpair() for _ in range(600)]
    yield made
    close_all([sock for pair in made for sock in pair])


Pairs = list[tuple[socket.socket, socket.socket]]


def packed(pairs: Pairs) -> list[socket.socket]:
    """Bags with all of them, and nowhere else."""
    bags, count = bag.pack([ours.fileno() for ours, _ in pairs])
    assert count == len(pairs)
    for ours, _ in pairs:
        ours.close()
    return bags


def all_hear_an_end(pairs: Pairs) -> bool:
    """Whether all at the other ends see that it is over."""
    for _, theirs in pairs:
        theirs.setblocking(False)
    return all(theirs.recv(100) == b"" for _, theirs in pairs)


class TestPacked:
    def test_they_come_out_in_order_and_are_not_inherited(self, pairs: Pairs) -> None:
        bags = packed(pairs)
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"%d" % number)
        found = [socket.socket(fileno=descriptor) for descriptor in bag.unpack(bags)]
        assert [int(sock.recv(100)) for sock in found] == list(range(len(pairs)))
        assert not any(sock.get_inheritable() for sock in found)
        assert all(each.fileno() < 0 for each in bags)
        close_all(found)

    def test_none_of_them(self) -> None:
        assert bag.pack([]) == ([], 0)
        assert bag.unpack([]) == []

    def test_a_full_bag_is_followed_by_another(self, pairs: Pairs) -> None:
        ours, _ = pairs[0]
        bags, count = bag.pack([ours.fileno()] * 100_000)
        assert count == 100_000
        assert len(bags) > 1
        close_all(bags)

    def test_bags_come_out_in_any_order(self, pairs: Pairs) -> None:
        ours, theirs = pairs[0]
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        bags, _ = bag.pack([ours.fileno()] * 100_000)
        # More than this process may have: nothing is lost that the client would not be told of.
        assert most < 100_000
        with pytest.raises(HandoverError, match="descriptors"):
            bag.unpack(bags[::-1])
        ours.close()
        theirs.setblocking(False)
        assert theirs.recv(1) == b""

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user with nothing in flight")
    def test_what_the_system_does_not_keep_stays_out(self, pairs: Pairs) -> None:
        ours, _ = pairs[0]
        child = os.fork()
        if not child:  # pragma: no cover - it has no coverage of its own
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (1_500, 1_500))
                os.setuid(64_321)
                bags, count = bag.pack([ours.fileno()] * 4_000)
                status = 0 if 1_500 <= count <= 1_500 + 2 * bag.BATCH and len(bags) == 1 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_what_is_no_descriptor(self) -> None:
        with pytest.raises(OSError, match="Bad file"):
            bag.pack([1_000_000])


class TestRefused:
    def test_one_is_missing(self, pairs: Pairs) -> None:
        one, _ = bag.pack([ours.fileno() for ours, _ in pairs[: bag.BATCH]])
        close_all(one)
        both = packed(pairs)
        socket.recv_fds(both[0], 100, 0)  # somebody else has taken the first ones
        with pytest.raises(HandoverError, match="missing"):
            bag.unpack(both)
        assert all_hear_an_end(pairs)

    def test_one_comes_twice(self, pairs: Pairs) -> None:
        one, _ = bag.pack([ours.fileno() for ours, _ in pairs])
        both = [*one, *packed(pairs)]
        with pytest.raises(HandoverError, match="more or less"):
            bag.unpack(both)
        assert all_hear_an_end(pairs)

    @pytest.mark.parametrize(
        "text", [b"", b"x", b"sigd bag", b"sigd bag\0\0\0\0\0\2", b"sigd bag\0\0\0\0\0\1x", b"x" * 50]
    )
    def test_it_holds_something_else(self, pairs: Pairs, text: bytes) -> None:
        ours, theirs = pairs[0]
        sender, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(sender, [text], [ours.fileno()])
        sender.close()
        ours.close()
        with pytest.raises(HandoverError):
            bag.unpack([other])
        theirs.setblocking(False)
        assert theirs.recv(1) == b""

    def test_it_is_no_bag(self) -> None:
        with pytest.raises(HandoverError, match="cannot be read"):
            bag.unpack([socket.socket()])

    def test_what_is_no_connection_is_closed(self) -> None:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        bag.turn_away([descriptor])
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)

    def test_what_was_not_read_makes_no_reset(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        client.send(b"x" * 1_000)
        bag.say_end(ours)
        assert client.recv(100) == b""
        client.close()
