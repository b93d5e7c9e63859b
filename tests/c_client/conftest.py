"""What the tests of the C client share: the client as a library, and devices that use it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.c_client import build
from tests.c_client.device import Device, Library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The client with UndefinedBehaviorSanitizer; with AddressSanitizer Python would have to run under it."""
    target = tmp_path_factory.mktemp("c_client") / "shim.so"
    flags = ("-std=c99", *build.STRICT, "-O1", "-g", "-fPIC", "-shared", "-fsanitize=undefined")
    return Library(build.compiled("gcc", build.HERE / "shim.c", target, *flags, "-fno-sanitize-recover=all"))


NewDevice = Callable[..., Device]


@pytest.fixture
def new_device(library: Library) -> Iterator[NewDevice]:
    """`new_device("cam1", udp=True)`: a device."""
    devices: list[Device] = []

    def make(*arguments: Any, **options: Any) -> Device:
        devices.append(Device(library, *arguments, **options))
        return devices[-1]

    yield make
    for device in devices:
        device.close()
