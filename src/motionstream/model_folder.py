"""`model.json`: the header of every folder that holds a model.

Our own models have all parts beside it (`bundle`); one on a Wan backbone names the places of published parts (`wan`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionstream.conditioning import ConditioningConfig
from motionstream.diffusion import few_step_times
from motionstream.dit import DiTConfig
from motionstream.sampling import ModelConfig, RolloutConfig

FORMAT = 1
HEADER = "model.json"
FILES = {part: f"{part}.safetensors" for part in ("network", "vae", "detail", "prompt_filter")}
"""Part of a model of our own → its file."""
OWN, WAN = "own", "wan"
KINDS = (OWN, WAN)
"""own: every part in the folder, the default. wan: a Wan backbone with published VAE and encoders elsewhere."""


@dataclass(frozen=True)
class Live:
    """How a model is run: frame size, frames a second, and the rollout in latents and calls.

    reads_prompt: whether its network reads the prompt; if not, only its prompt filter does. clean_pass: as of
    `RolloutConfig`.
    """

    size: tuple[int, int]
    fps: float
    chunk: int
    sink: int
    window: int
    steps: int
    shift: float
    reads_prompt: bool = True
    clean_pass: bool = True

    @property
    def rollout_config(self) -> RolloutConfig:
        times = tuple(few_step_times(self.steps, self.shift).tolist())
        return RolloutConfig(self.chunk, self.sink, self.window, times, self.clean_pass)


def write_header(folder: Path, name: str, kind: str, live: Live, network: ModelConfig, more: dict[str, Any]) -> None:
    """more: what the kind adds, `sha256` by file among it."""
    header = {
        "format": FORMAT,
        "name": name,
        **({} if kind == OWN else {"kind": kind}),
        "live": dataclasses.asdict(live),
        "network": dataclasses.asdict(network),
        **more,
    }
    write_json(folder / HEADER, header)


def write_json(path: Path, header: dict[str, Any]) -> None:
    path.write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError if it holds anything else."""
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no JSON object")
    return header


def read_header(folder: Path) -> dict[str, Any]:
    """`model.json`: at least `format`, `name`, `kind` and `sha256` by file. Raises ValueError if there is no such."""
    path = folder / HEADER
    if not path.is_file():
        raise ValueError(f"{folder} holds no model: {HEADER} is missing")
    header = read_json(path)
    if header.get("format") != FORMAT:
        raise ValueError(f"{path}: this version reads models of format {FORMAT}")
    kind = header.setdefault("kind", OWN)
    if kind not in KINDS:
        raise ValueError(f"{path}: a model of kind {kind!r}; this version reads {', '.join(KINDS)}")
    hashes = header.get("sha256")
    parts = {file for part, file in FILES.items() if part in header or part == "vae"}
    needed = parts if kind == OWN else set()
    if "name" not in header or not isinstance(hashes, dict) or not hashes or not needed <= hashes.keys():
        of = " and ".join(sorted(needed)) or "its weights"
        raise ValueError(f"{path} is incomplete: it must have a name and the SHA-256 of {of}")
    return header


def bundle_hash(header: dict[str, Any]) -> str:
    """One short name for these weights: the first 12 digits of the SHA-256 of their files' SHA-256."""
    hashes: dict[str, str] = header["sha256"]
    own = header.get("kind", OWN) == OWN
    files = [file for file in FILES.values() if file in hashes] if own else sorted(hashes)
    return hashlib.sha256("".join(hashes[file] for file in files).encode()).hexdigest()[:12]


def network_of(header: dict[str, Any], folder: Path) -> ModelConfig:
    """Sizes of the network. Raises ValueError where the header does not describe one."""
    try:
        values = header["network"]
        dit = DiTConfig(**{key: _tuple(value) for key, value in values["dit"].items()})
        return ModelConfig(dit, ConditioningConfig(**values["conditioning"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise undescribed(folder, error) from error


def live_of(header: dict[str, Any], folder: Path) -> Live:
    """How it is run. Raises ValueError where that is missing."""
    try:
        return Live(**tuples(header["live"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise undescribed(folder, error) from error


def undescribed(folder: Path, error: Exception) -> ValueError:
    return ValueError(f"{folder / HEADER} does not describe a model: {error}")


def tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples."""
    return {key: _tuple(value) for key, value in values.items()}


def sha256(path: Path) -> str:
    """Of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
