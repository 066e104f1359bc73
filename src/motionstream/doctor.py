"""What this machine can run: processor, memory, accelerator, optional packages, embedded weights, memory settings.

Nothing large is loaded: `motionstream doctor` must also answer where a model would not start. Package `plan` computes
what fits into a GPU's memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from motionstream import console, errors
from motionstream.evaluate import machine

# Packages outside the core, and what they enable.
OPTIONAL = {
    "fastapi": "the studio and its WebSocket",
    "uvicorn": "the studio's server",
    "cv2": "point tracking, fast synthetic worlds",
    "tensorboard": "losses and sample sheets while training",
    "torchmetrics": "PSNR and SSIM",
    "diffusers": "Wan's full VAE and its layouts",
    "transformers": "Wan's text encoder",
}
# Flags that a processor must list for bfloat16 to be fast there (x86 and Arm names).
FAST_BF16 = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX", "bf16": "Arm BF16"}
TINY = Path(__file__).parent / "tiny" / "weights"
GIB = 1 << 30
PLANNED_GIB = (24.0, 16.0, 12.0, 8.0)
"""Memory of usual GPUs: planned for where there is none."""
WAN = ("wan2.1-1.3b", "wan2.2-5b")
FP8_CAPABILITY = (8, 9)
"""Of NVIDIA's GPUs that multiply fp8 numbers: Ada and later."""


def examine() -> dict[str, Any]:
    """Everything `motionstream doctor` finds, JSON-ready."""
    return {
        "machine": machine.describe(),
        "fast_bfloat16": fast_bfloat16(),
        "free_memory_gib": free_memory_gib(),
        "torch": torch_build(),
        "accelerators": accelerators(),
        "packages": {name: installed(name) for name in OPTIONAL},
        "weights": weights(TINY),
    }


def fast_bfloat16() -> list[str]:
    """The processor's instructions that make bfloat16 pay; none are known where Linux does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    listed = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    flags = set(listed.partition(":")[2].split())
    return sorted(name for flag, name in FAST_BF16.items() if flag in flags)


def free_memory_gib() -> float | None:
    """Memory that is free now; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / GIB
    except (ValueError, OSError, AttributeError):
        return None


def torch_build() -> dict[str, Any]:
    """What this torch was built for."""
    import torch

    return {"cuda": torch.version.cuda, "capability": torch.backends.cpu.get_cpu_capability()}


def accelerators() -> list[dict[str, Any]]:
    """Each GPU torch can use: memory in GiB, whether it multiplies fp8, and the attention kernel that runs there."""
    import torch

    from motionstream.dit.attention import attention_backend

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {
            "name": gpu.name,
            "memory_gib": gpu.total_memory / GIB,
            "capability": f"{gpu.major}.{gpu.minor}",
            "fp8": torch.version.cuda is not None and (gpu.major, gpu.minor) >= FP8_CAPABILITY,
            "attention": attention_backend(f"cuda:{index}"),
        }
        for index, gpu in enumerate(found)
    ]


def installed(name: str) -> str | None:
    """The version of an importable package, "yes" where it has none, None where it is missing."""
    if find_spec(name) is None:
        return None
    try:
        return version("opencv-python-headless" if name == "cv2" else name)
    except PackageNotFoundError:
        return "yes"


def weights(folder: Path) -> dict[str, Any]:
    """Whether every file of the model in a folder is there and whole.

    status: "ok", "missing" (no header) or "damaged", with the state of each file that the header names.
    """
    from motionstream import model_folder

    if not (folder / model_folder.HEADER).is_file():
        return {"status": "missing", "files": {}}
    try:
        hashes = model_folder.read_header(folder)["sha256"]
    except ValueError:
        return {"status": "damaged", "files": {model_folder.HEADER: "not readable"}}
    states = {str(name): _file_state(folder / name, sha256) for name, sha256 in hashes.items()}
    return {"status": "ok" if set(states.values()) == {"ok"} else "damaged", "files": states}


def _file_state(path: Path, sha256: str) -> str:
    from motionstream import model_folder

    if not path.is_file():
        return "missing"
    return "ok" if model_folder.sha256(path) == sha256 else "another hash"


def advice(findings: Mapping[str, Any]) -> list[str]:
    """What the findings mean for the user, most important first."""
    lines = [_embedded_advice(findings), _gpu_advice(findings), *_wan_advice(findings)]
    missing = sorted({errors.EXTRAS[name] for name, found in findings["packages"].items() if found is None})
    if missing:
        lines.append(f"missing packages come with: pip install 'motionstream[{','.join(missing)}]'")
    return lines


def _embedded_advice(findings: Mapping[str, Any]) -> str:
    state, cores = findings["weights"]["status"], findings["machine"]["cores"]
    fast = findings["fast_bfloat16"]
    if state != "ok":
        return f"the embedded weights are {state}: install the package again, or take a clone that has them"
    if findings["accelerators"] or (cores >= 2 and fast):
        return "the embedded model should stream live here: motionstream demo"
    if cores < 2:
        return "the embedded model runs here, not live: it wants two cores"
    return "the embedded model runs here, perhaps not live: this processor has no fast bfloat16"


def _gpu_advice(findings: Mapping[str, Any]) -> str:
    if findings["accelerators"]:
        return "GPU found: runs/tiny_gpu.sh trains here; motionstream bench live says how fast it streams"
    if findings["torch"]["cuda"] is None and shutil.which("nvidia-smi"):
        return "there is an NVIDIA driver, but this torch is built for the CPU: install a CUDA build of torch"
    needs = f"what they need: motionstream doctor --plan {WAN[0]}"
    return f"no GPU: training takes hours on the CPU (runs/tiny_cpu.sh), and Wan's models are out of reach ({needs})"


def _wan_advice(findings: Mapping[str, Any]) -> list[str]:
    """Whether Wan's models fit the largest GPU."""
    from motionstream.plan import choice, models, show

    if not findings["accelerators"]:
        return []
    gpu = max(findings["accelerators"], key=lambda gpu: float(gpu["memory_gib"]))
    fp8 = None if gpu["fp8"] else False
    chosen = [choice.choose(models.model_sizes(name), gpu["memory_gib"], fp8=fp8) for name in WAN]
    return [*map(show.summary, chosen), f"part by part: motionstream doctor --plan {WAN[0]}"]


def planned_gpus() -> tuple[tuple[float, ...], bool]:
    """Memories in GiB to plan for, of this machine's largest GPU or of usual ones, and whether they multiply fp8."""
    here = accelerators()
    return ((max(gpu["memory_gib"] for gpu in here),), any(gpu["fp8"] for gpu in here)) if here else (PLANNED_GIB, True)


def show(findings: Mapping[str, Any]) -> None:
    """Findings and advice on stdout."""
    console.table("This machine", _rows(findings))
    for line in advice(findings):
        print(f"→ {line}")


def _rows(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    where, build, free = findings["machine"], findings["torch"], findings["free_memory_gib"]
    fast = ", ".join(findings["fast_bfloat16"]) or "no fast bfloat16"
    return [
        ("python", f"{where['python']} on {where['system']}"),
        ("processor", f"{where['processor']}, {where['cores']} cores, {fast}"),
        ("memory", "unknown" if free is None else f"{free:.1f} of {where['memory_gib']} GiB free"),
        ("torch", f"{where['torch']}, {where['threads']} threads, {build['capability']}"),
        *(("gpu", _gpu_row(gpu)) for gpu in findings["accelerators"]),
        ("weights", _weights_row(findings["weights"])),
        *((name, f"{found or 'missing'}: {OPTIONAL[name]}") for name, found in findings["packages"].items()),
    ]


def _gpu_row(gpu: Mapping[str, Any]) -> str:
    can = f"capability {gpu['capability']}, {'fp8' if gpu['fp8'] else 'no fp8'}, {gpu['attention']} attention"
    return f"{gpu['name']}, {gpu['memory_gib']:.0f} GiB, {can}"


def _weights_row(found: Mapping[str, Any]) -> str:
    wrong = [f"{name}: {state}" for name, state in found["files"].items() if state != "ok"]
    return ", ".join([f"tiny {found['status']}", *wrong])
