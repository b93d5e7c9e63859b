"""The C client compiles everywhere without a warning, and is as small as it says."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.c_client.build import CLIENT, STRICT, compiled, run
from tests.needs import needs

IMPLEMENTATION: Final = '#define SIGD_IMPLEMENTATION\n#include "sigd.h"\n'
USER: Final = '#include "sigd.h"\nenum sigd_state f(struct sigd *s) { return sigd_state(s); }\n'
DEVICE: Final = IMPLEMENTATION + "struct sigd device;\nchar buffer[4096];\n"

WITHOUT: Final = {"everything": (), "no-mac": ("-DSIGD_NO_MAC",), "no-udp": ("-DSIGD_NO_UDP",)}

MOST_LINES: Final = {"sigd.h": 700, "sigd_hmac.h": 80}
"""The client is meant to be read in an evening. 120 columns each at most."""
MOST_CODE: Final = 8 * 1024
"""Bytes in flash, tables and texts included, of everything that there is; what the C library adds is not in it."""
MOST_RAM: Final = 6 * 1024
"""Bytes, a message buffer of 4 KiB included; the stack is not in it."""


@pytest.mark.parametrize(("header", "most"), MOST_LINES.items())
def test_it_is_short(header: str, most: int):
    lines = (CLIENT / header).read_text().splitlines()
    assert len(lines) <= most
    assert max(map(len, lines)) <= 120


def source(folder: Path, text: str, name: str = "source.c") -> Path:
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("without", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_strict_c99(compiler: str, level: str, without: tuple[str, ...], tmp_path: Path):
    compiled(compiler, source(tmp_path, IMPLEMENTATION), tmp_path / "out.o", "-std=c99", *STRICT, level, "-c", *without)


@pytest.mark.parametrize("without", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_interface_alone(compiler: str, without: tuple[str, ...], tmp_path: Path):
    compiled(compiler, source(tmp_path, USER), tmp_path / "out.o", "-std=c99", *STRICT, "-c", *without)


@pytest.mark.parametrize("text", [IMPLEMENTATION, USER])
def test_as_c_plus_plus(text: str, tmp_path: Path):
    compiled("g++", source(tmp_path, text, "source.cc"), tmp_path / "out.o", "-std=c++11", *STRICT, "-c")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("example", ["call", "answer"])
def test_examples(compiler: str, example: str, tmp_path: Path):
    compiled(compiler, CLIENT / f"{example}.c", tmp_path / example, "-std=c99", *STRICT, "-O2")


def size(folder: Path, text: str, cpu: str, *flags: str) -> tuple[int, int, int]:
    """Bytes of code and constants, of initialised data, and of other data."""
    out = folder / "out.o"
    compiled(
        "arm-none-eabi-gcc",
        source(folder, text),
        out,
        f"-mcpu={cpu}",
        "-mthumb",
        "-Os",
        "-std=c99",
        *STRICT,
        "-c",
        *flags,
    )
    found = re.match(r"\s*(\d+)\s+(\d+)\s+(\d+)", run(needs("arm-none-eabi-size"), str(out)).stdout.split("\n")[1])
    assert found is not None
    text_bytes, data, bss = map(int, found.groups())
    return text_bytes, data, bss


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_size(cpu: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = {name: size(tmp_path, DEVICE, cpu, *flags) for name, flags in WITHOUT.items()}
    with capsys.disabled():
        for name, row in table.items():
            print(f"\n{cpu:14} {name:12} text {row[0]:5}  data {row[1]:3}  bss {row[2]:5}", end="")
    code, data, bss = table["everything"]
    assert code <= MOST_CODE
    assert data + bss <= MOST_RAM


def test_no_memory_is_asked_for(tmp_path: Path):
    """Nothing but a few functions of the C library is used, none of which allocates."""
    out = tmp_path / "out.o"
    compiled(
        "arm-none-eabi-gcc",
        source(tmp_path, IMPLEMENTATION),
        out,
        "-mcpu=cortex-m0plus",
        "-mthumb",
        "-Os",
        "-std=c99",
        "-c",
    )
    undefined = {line.split()[-1] for line in run(needs("arm-none-eabi-nm"), "-u", str(out)).stdout.splitlines()}
    library = {
        "memcpy",
        "memset",
        "memmove",
        "memcmp",
        "strlen",
        "strcmp",
        "strchr",
        "strcpy",
        "strncpy",
        "strcspn",
    }
    assert {name for name in undefined if not name.startswith("__")} <= library


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_program_in_the_readme(compiler: str, tmp_path: Path):
    (program,) = re.findall(r"```c\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    compiled(compiler, source(tmp_path, program), tmp_path / "out.o", "-std=c99", *STRICT, "-c")
