"""Compiles the C client, as a device author would, and in the ways that find faults."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.needs import lacks, needs

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "clients" / "c"

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

COMPILE_SECONDS = 60


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; its output, where it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


PROBE = """\
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#ifdef __cplusplus
extern "C"
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return data != NULL && size == strlen("x") ? 0 : 0; }
"""
"""A program that compiles only where the compiler's C library and runtimes are installed too."""

MAIN = "int main(void) { return 0; }\n"


@cache
def lacking(compiler: str, language: str, flags: tuple[str, ...]) -> str:
    """Return what a compiler says where it lacks a header or a runtime for these flags; nothing if it has them."""
    has_main = any("fuzzer" in flag for flag in flags) or not {"-c", "-shared"}.isdisjoint(flags)
    probe = PROBE if has_main else PROBE + MAIN
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, *flags, "-x", language, "-", "-o", f"{folder}/probe"]
        done = subprocess.run(
            command, input=probe, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False
        )
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it does not say why"])[0]


def compiled(compiler: str, source: Path, target: Path, *flags: str) -> Path:
    """What a compiler makes of a source file."""
    path = needs(compiler)
    if fault := lacking(path, "c++" if compiler == "g++" else "c", flags):
        lacks(f"{compiler} is there only half, {' '.join(flags)} fails: {fault}")
    run(path, *flags, f"-I{CLIENT}", str(source), "-o", str(target))
    return target
