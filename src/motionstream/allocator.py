"""Memory settings of glibc that let a stream reuse its large buffers instead of giving them back each chunk.

By default glibc maps every large tensor afresh and returns it when freed, so each step pays for page faults
again (`docs/latency.md`). The settings are only read when a program starts, so the program starts itself once
more with them. `MOTIONSTREAM_MALLOC=0` turns that off; values of the user's own are kept.
"""

from __future__ import annotations

import os
import sys

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),  # keep tensors up to 1 GiB on the heap …
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),  # … return its top only above 4 GiB …
    "MALLOC_TOP_PAD_": str(1 << 28),  # … and let it grow 256 MiB at a time
}
SWITCH = "MOTIONSTREAM_MALLOC"


def is_glibc() -> bool:
    """Whether this process runs on glibc, the only one that reads these settings."""
    try:
        return sys.platform == "linux" and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


def state() -> str:
    """ "on", "off" (by choice or not asked for) or "not applicable" in this process."""
    if not is_glibc():
        return "not applicable"
    return "on" if all(os.environ.get(name) for name in SETTINGS) else "off"


def restart_needed() -> bool:
    """Whether this process lacks the settings and nobody has refused them."""
    return state() == "off" and os.environ.get(SWITCH) not in ("0", "set")


def restart_with_settings() -> None:
    """Replace this process by itself with the settings; returns only where nothing is to be done.

    The process id, standard streams and working folder stay, so callers and signals notice nothing.
    """
    if not restart_needed():
        return
    chosen = {name: os.environ.get(name) or value for name, value in SETTINGS.items()}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **chosen, SWITCH: "set"})
