"""What this machine can run: processor, memory, accelerator, optional packages, embedded weights, memory settings.

It looks and loads nothing large: `motionstream doctor` must also answer where a model would not start.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from motionstream import allocator, console

# Packages outside the core: what they enable, and the extra that brings them.
OPTIONAL = {
    "fastapi": ("the studio and its WebSocket", "serve"),
    "uvicorn": ("the studio's server", "serve"),
    "cv2": ("point tracking, fast synthetic worlds", "data"),
    "tensorboard": ("losses and sample sheets while training", "train"),
    "torchmetrics": ("PSNR and SSIM", "evaluate"),
    "diffusers": ("Wan's full VAE and its layouts", "wan"),
    "transformers": ("Wan's text encoder", "wan"),
}
PROGRAMS = {"chromium": "the studio's browser test"}
# What a processor must say of itself for bfloat16 to be fast there (x86 and Arm names).
FAST_BF16 = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX", "bf16": "Arm BF16"}
TINY = Path(__file__).parent / "zoo" / "tiny"
GIB = 1 << 30


def examine() -> dict[str, Any]:
    """Everything `motionstream doctor` knows, JSON-ready."""
    return {
        "python": platform.python_version(),
        "processor": processor(),
        "memory": memory(),
        "torch": torch_build(),
        "accelerators": accelerators(),
        "packages": {name: installed(name) for name in OPTIONAL},
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "weights": weights(TINY),
        "allocator": allocator.state(),
    }


def processor() -> dict[str, Any]:
    """Name, usable cores and the instructions that decide whether bfloat16 pays."""
    described = _cpuinfo()
    flags = set((described.get("flags") or described.get("Features") or "").split())
    return {
        "name": described.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "fast_bfloat16": sorted(name for flag, name in FAST_BF16.items() if flag in flags),
        "avx2": "avx2" in flags,
        "avx512": "avx512f" in flags,
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields where Linux lists them, else nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def memory() -> dict[str, float]:
    """Total and free memory in GiB, within the limit a container sets."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (ValueError, OSError, AttributeError):
        return {}
    limit = _container_limit()
    return {"total_gib": min(total, limit) / GIB, "free_gib": min(free, limit) / GIB}


def _container_limit() -> float:
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return float(text)
    return float("inf")


def torch_build() -> dict[str, Any]:
    """Which torch this is and how many threads it would use."""
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def accelerators() -> list[dict[str, Any]]:
    """Each GPU torch can use, with its memory in GiB."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_gib": gpu.total_memory / GIB} for gpu in found]


def installed(name: str) -> str | None:
    """The version of an importable package, "yes" where it has none, None where it is missing."""
    if find_spec(name) is None:
        return None
    try:
        return version("opencv-python-headless" if name == "cv2" else name)
    except PackageNotFoundError:
        return "yes"


def weights(folder: Path) -> dict[str, Any]:
    """Whether every weights file beside the manifest is there and whole.

    status: "ok", "missing" (no manifest) or "damaged", with the files that are not what the manifest says.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = {str(name): _sha256(entry) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        return {"status": "missing", "files": {}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"status": "damaged", "files": {"manifest.json": "not readable"}}
    states = {name: _file_state(folder / name, sha256) for name, sha256 in files.items()}
    return {"status": "ok" if set(states.values()) == {"ok"} else "damaged", "files": states}


def _sha256(entry: Any) -> str:
    return str(entry["sha256"] if isinstance(entry, Mapping) else entry)


def _file_state(path: Path, sha256: str) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return "ok" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "another hash"


def verdicts(findings: Mapping[str, Any]) -> list[str]:
    """What the findings mean for the user, most important first."""
    said = [_embedded_verdict(findings), _gpu_verdict(findings)]
    missing = sorted({OPTIONAL[name][1] for name, found in findings["packages"].items() if found is None})
    if missing:
        said.append(f"missing packages come with: pip install 'motionstream[{','.join(missing)}]'")
    return said


def _embedded_verdict(findings: Mapping[str, Any]) -> str:
    state, cpu = findings["weights"]["status"], findings["processor"]
    if state != "ok":
        return f"the embedded weights are {state}: install the package again, or take a clone that has them"
    if findings["accelerators"] or (cpu["cores"] >= 2 and cpu["fast_bfloat16"]):
        return "the embedded model should stream live here: motionstream demo"
    if cpu["cores"] < 2:
        return "the embedded model runs here, not live: it wants two cores"
    return "the embedded model runs here, perhaps not live: this processor has no fast bfloat16"


def _gpu_verdict(findings: Mapping[str, Any]) -> str:
    if findings["accelerators"]:
        return "GPU found: runs/tiny_gpu.sh trains here; motionstream bench live says how fast it streams"
    if findings["torch"]["cuda"] is None and shutil.which("nvidia-smi"):
        return "there is an NVIDIA driver, but this torch is built for the CPU: install a CUDA build of torch"
    return "no GPU: training takes hours on the CPU (runs/tiny_cpu.sh), and Wan's models are out of reach"


def show(findings: Mapping[str, Any]) -> None:
    """Findings and verdicts on stdout."""
    console.table("This machine", _rows(findings))
    for line in verdicts(findings):
        print(f"→ {line}")


def _rows(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    cpu, build, memory = findings["processor"], findings["torch"], findings["memory"]
    fast = ", ".join(cpu["fast_bfloat16"]) or "no fast bfloat16"
    rows = [
        ("python", f"{findings['python']} on {sys.platform}"),
        ("processor", f"{cpu['name']}, {cpu['cores']} cores, {fast}"),
        ("memory", f"{memory['free_gib']:.1f} of {memory['total_gib']:.1f} GiB free" if memory else "unknown"),
        ("torch", f"{build['version']}, {build['threads']} threads, {build['capability']}"),
        *(("gpu", f"{gpu['name']}, {gpu['memory_gib']:.0f} GiB") for gpu in findings["accelerators"]),
        ("weights", _weights_row(findings["weights"])),
        ("allocator", _allocator_row(findings["allocator"])),
    ]
    rows += [(name, f"{found or 'missing'}: {OPTIONAL[name][0]}") for name, found in findings["packages"].items()]
    rows += [
        (name, f"{'found' if there else 'missing'}: {PROGRAMS[name]}") for name, there in findings["programs"].items()
    ]
    return rows


def _weights_row(found: Mapping[str, Any]) -> str:
    wrong = [f"{name}: {state}" for name, state in found["files"].items() if state != "ok"]
    return ", ".join([f"tiny {found['status']}", *wrong])


def _allocator_row(state: str) -> str:
    meaning = {
        "on": "keeps its pages",
        "off": "glibc's defaults; demo, serve, train, bench, generate and evaluate restart with better ones",
    }
    return f"{state}: {meaning[state]}" if state in meaning else state
