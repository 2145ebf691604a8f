"""What this machine's processor can do, and how llama.cpp's build is told to use it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Instructions:
    """A group of instructions: ``option`` is its switch in ggml's build, ``needs`` are the names
    that Linux lists for the processor when it has all of them."""

    option: str
    needs: frozenset[str]


def _x86(option: str, *needs: str) -> Instructions:
    return Instructions(f"GGML_{option}", frozenset(needs))


#: After ``ggml/CMakeLists.txt`` and the compiler flags that ``ggml-cpu/CMakeLists.txt`` adds for
#: each; ``GGML_AVX512`` stands for five groups at once.
X86: Sequence[Instructions] = (
    _x86("SSE42", "sse4_2"),
    _x86("AVX", "avx"),
    _x86("F16C", "f16c"),
    _x86("FMA", "fma"),
    _x86("BMI2", "bmi2"),
    _x86("AVX2", "avx2"),
    _x86("AVX_VNNI", "avx_vnni"),
    _x86("AVX512", "avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"),
    _x86("AVX512_VBMI", "avx512f", "avx512vbmi"),
    _x86("AVX512_VNNI", "avx512f", "avx512_vnni"),
    _x86("AVX512_BF16", "avx512f", "avx512_bf16"),
    _x86("AMX_TILE", "amx_tile"),
    _x86("AMX_INT8", "amx_tile", "amx_int8"),
    _x86("AMX_BF16", "amx_tile", "amx_bf16"),
)

#: What the published wheel is compiled for; a build for no more than that would gain nothing.
X86_OF_THE_WHEEL = frozenset(
    {"GGML_SSE42", "GGML_AVX", "GGML_F16C", "GGML_FMA", "GGML_BMI2", "GGML_AVX2"}
)

#: Extensions of ``-march=armv8.2-a`` by Linux's names of them.
ARM = {
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a build is for: ``options`` of its configuration (``NAME=VALUE``), the names that the
    processor ``needs`` to list, and whether that is ``more`` than the wheel uses."""

    machine: str
    options: tuple[str, ...]
    needs: frozenset[str]
    more: bool


def features(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """What Linux lists for the first processor; empty where it does not tell."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(values.split())
    return frozenset()


def target(
    has: frozenset[str], machine: str | None = None, without: frozenset[str] = frozenset()
) -> Target:
    """The build for a processor that ``has`` these features, leaving some out; names are Linux's.

    ``machine`` is this one's unless given. Every switch is set, on or off: nothing is guessed.
    """
    machine = machine or platform.machine()
    able = has - without
    if machine in {"aarch64", "arm64"}:
        used = {name: tag for name, tag in ARM.items() if name in able}
        arch = "+".join(["armv8.2-a" if used else "armv8-a", *used.values()])
        return Target(machine, (f"GGML_CPU_ARM_ARCH={arch}",), frozenset(used), bool(used))
    on = [group for group in X86 if group.needs <= able]
    chosen = {group.option for group in on}
    return Target(
        machine,
        tuple(f"{group.option}={'ON' if group.option in chosen else 'OFF'}" for group in X86),
        frozenset().union(*(group.needs for group in on)),
        bool(chosen - X86_OF_THE_WHEEL),
    )
