"""The filter of system calls, run by an interpreter of our own."""

from __future__ import annotations

import struct

import pytest

from textgym.sandbox.seccomp import filter_program

X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000


def verdict(program: bytes, number: int, architecture: int) -> int:
    """Run the four instructions of BPF that the filter has."""
    steps = list(struct.iter_unpack("=HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == 0x20:
            accumulator = {0: number, 4: architecture}[value]
        elif code == 0x15:
            place += if_true if accumulator == value else if_false
        elif code == 0x35:
            place += if_true if accumulator >= value else if_false
        else:
            return int(value)


@pytest.mark.parametrize(
    ("machine", "architecture", "allowed", "denied"),
    [
        # read, write, exit_group, mmap; socket, clone, fork, vfork, kill, ptrace, mount, unshare, memfd_create, clone3
        ("x86_64", X86, (0, 1, 231, 9), (41, 56, 57, 58, 62, 101, 165, 272, 319, 435)),
        # and without fork and vfork
        ("aarch64", ARM, (63, 64, 94, 222), (198, 220, 129, 117, 40, 97, 279, 435)),
    ],
)
def test_known_calls(machine: str, architecture: int, allowed: tuple[int, ...], denied: tuple[int, ...]) -> None:
    program = filter_program(machine)
    assert [verdict(program, number, architecture) for number in allowed] == [ALLOW] * len(allowed)
    assert [verdict(program, number, architecture) for number in denied] == [DENY] * len(denied)
    assert verdict(program, allowed[0] | 0x40000000, architecture) == DENY  # x32
    assert verdict(program, allowed[0], X86 + ARM - architecture) == KILL


def test_other_machines_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="riscv64"):
        filter_program("riscv64")
