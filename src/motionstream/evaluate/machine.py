"""What a figure was measured on: processor, memory, torch, accelerator and date. Every JSON of figures has it."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

GIB = 1 << 30
MIB = 1 << 20


def describe() -> dict[str, Any]:
    """The machine, JSON-ready. cores: those this process may use. memory_gib: of the container, if it has a limit."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": memory_gib(),
        "gpu": ", ".join(gpus) if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def processor() -> str:
    """The processor's name where the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Memory that this process can have at most, to a tenth; None where it is not known."""
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        total = min(total, float(text)) if text.isdigit() else total
    return round(total / GIB, 1)


def resident_mib(process: int | str = "self") -> float | None:
    """Memory of a process (its id, or this one) that is in RAM now; None where it is not known."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def cpu_seconds(process: int) -> float | None:
    """Processor time that all threads of a process have used, in seconds; None where it is not known."""
    try:
        line = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        after_name = line.rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
