"""Who a driver is, and whether one that runs on this machine is still there."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def new_owner() -> str:
    """A name that no other driver has: machine, process, when the process started, and a random number."""
    return "/".join((_machine(), str(os.getpid()), _started(os.getpid()) or "0", secrets.token_hex(3)))


def is_dead(owner: str) -> bool:
    """Whether the driver was a process of this machine that is gone; of other machines nothing is known."""
    machine, _, rest = owner.rpartition("/")[0].rpartition("/")[0].rpartition("/")
    started = owner.split("/")[-2:-1]
    if machine != _machine() or not rest.isdigit() or started == ["0"]:
        return False
    return [_started(int(rest))] != started


def _machine() -> str:
    """The machine since its last start, and the namespace that process numbers count in: containers have their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:8]
        space = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}.{boot}.{space}"


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where there is none, or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]
