"""FVD and VBench through packages that the user has installed: adaptors only, none is a dependency.

Neither package is imported before it is asked for, nothing is downloaded, and weights are read only from the file or
folder that is named. What is not there is left out of the figures and listed as missing.

- Fréchet Video Distance (Unterthiner et al., 2018) by `cd-fvd` (Ge et al., CVPR 2024), on I3D features.
- VBench (Huang et al., CVPR 2024), custom input: the dimensions that need no prompts of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from motionstream.evaluate.metrics import Video
from motionstream.stream.video import write_mp4

LEAST_FRAMES = 9  # frames from which I3D's last pooling has anything to pool
CRF = 8  # of the videos that VBench reads: x264's losses are then far below what it measures

# What each dimension reads under VBench's folder of weights (its VBENCH_CACHE_DIR); it would fetch what is not there.
VBENCH_WEIGHTS: dict[str, tuple[str, ...]] = {
    "subject_consistency": ("dino_model/facebookresearch_dino_main", "dino_model/dino_vitbase16_pretrain.pth"),
    "background_consistency": ("clip_model/ViT-B-32.pt",),
    "temporal_flickering": (),
    "motion_smoothness": ("amt_model/amt-s.pth",),
    "dynamic_degree": ("raft_model/models/raft-things.pth",),
    "aesthetic_quality": ("clip_model/ViT-L-14.pt", "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),
    "imaging_quality": ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
}


@dataclass(frozen=True)
class Package:
    """module: as it is imported. install: as it is installed. licence: of its code; weights have their own."""

    module: str
    install: str
    licence: str


FVD = Package("cdfvd", "cd-fvd", "MIT; its I3D weights have their own terms")
VBENCH = Package("vbench", "vbench", "Apache-2.0; the networks it uses have their own terms")


class NotInstalled(ImportError):
    """The user's package is not there: says what to install, and its licence."""

    def __init__(self, package: Package) -> None:
        self.package = package
        super().__init__(
            f"the package {package.module} is not installed, so this figure is left out: "
            f"pip install {package.install} (licence: {package.licence})"
        )


class Measure(Protocol):
    """A figure of many videos together."""

    @property
    def name(self) -> str: ...

    def add(self, name: str, made: Video, true: Video, fps: float) -> None:
        """Take in one clip's videos (F, H, W, 3) uint8."""

    def figures(self) -> tuple[dict[str, Any], list[str]]:
        """What was measured, JSON-ready, and names of what could not be."""


class Fvd:
    """Fréchet distance between the true and the made videos. weights: I3D's file, as the package publishes it.

    Raises NotInstalled without the package, ValueError when there is no such file.
    """

    name = "fvd"

    def __init__(self, weights: Path, device: str) -> None:
        if not weights.is_file():
            raise ValueError(f"--fvd {weights}: no such file; name the I3D weights that {FVD.install} publishes")
        module = _imported(FVD, "cdfvd.fvd")
        with _on_stderr():
            self._fvd = module.cdfvd("i3d", n_real="full", n_fake="full", ckpt_path=str(weights), device=device)
        self.clips = 0

    def add(self, name: str, made: Video, true: Video, fps: float) -> None:
        """Take in one clip. Raises ValueError when it is too short for I3D."""
        if len(true) < LEAST_FRAMES:
            raise ValueError(f"{name}: FVD needs clips of at least {LEAST_FRAMES} frames, this one has {len(true)}")
        with _on_stderr():
            self._fvd.add_real_stats(true[None])
            self._fvd.add_fake_stats(made[None])
        self.clips += 1

    def figures(self) -> tuple[dict[str, Any], list[str]]:
        """`fvd` and the number of clips it is over; a Fréchet distance needs two clips, of fewer it is missing."""
        if self.clips < 2:
            return {}, [self.name]
        with _on_stderr():
            return {"fvd": {"value": float(self._fvd.compute_fvd_from_stats()), "clips": self.clips}}, []


class VBench:
    """VBench's seven measures of quality of the made videos. weights: the folder in which its networks lie.

    A dimension whose weights are not there is missing. Raises NotInstalled without the package, ValueError when there
    is no such folder.
    """

    name = "vbench"

    def __init__(self, weights: Path, device: str) -> None:
        if not weights.is_dir():
            raise ValueError(
                f"--vbench {weights}: no such folder; name the one with VBench's weights (VBENCH_CACHE_DIR)"
            )
        os.environ["VBENCH_CACHE_DIR"] = str(weights.resolve())  # read when the package is imported
        self._module = _imported(VBENCH, "vbench")
        self.weights, self.device = weights, device
        self._folder = tempfile.TemporaryDirectory(prefix="motionstream-vbench-")
        self._videos, self._results = (Path(self._folder.name) / name for name in ("videos", "results"))
        self._videos.mkdir()
        self.clips = 0

    def add(self, name: str, made: Video, true: Video, fps: float) -> None:
        """Write one clip where VBench reads it."""
        write_mp4(self._videos / f"clip{self.clips:05d}.mp4", made, fps, CRF)
        self.clips += 1

    def figures(self) -> tuple[dict[str, Any], list[str]]:
        """`vbench`: each dimension's mean, and the number of clips."""
        missing = [name for name in VBENCH_WEIGHTS if not self._has(name)]
        ready = [name for name in VBENCH_WEIGHTS if name not in missing] if self.clips else []
        measured = {name: self._measured(name) for name in ready}
        self._folder.cleanup()
        named = [f"{self.name}.{name}" for name in (missing if self.clips else VBENCH_WEIGHTS)]
        return ({"vbench": {"clips": self.clips, **measured}} if measured else {}), named

    def _has(self, dimension: str) -> bool:
        return all((self.weights / file).exists() for file in VBENCH_WEIGHTS[dimension])

    def _measured(self, dimension: str) -> float:
        bench = self._module.VBench(self.device, "", str(self._results))
        more = {"imaging_quality_preprocessing_mode": "longer"} if dimension == "imaging_quality" else {}
        with _on_stderr():
            bench.evaluate(
                videos_path=str(self._videos),
                name=dimension,
                dimension_list=[dimension],
                local=True,
                mode="custom_input",
                **more,
            )
        written = self._results / f"{dimension}_eval_results.json"
        mean, _ = json.loads(written.read_text(encoding="utf-8"))[dimension]
        return float(mean)


def asked(
    fvd: Path | None, vbench: Path | None, device: str, say: Callable[[str], None]
) -> tuple[list[Measure], list[str]]:
    """The measures whose weights are named, and names of those whose package is not there.

    say: prints a line on what to install. device: auto, cpu, cuda, … Raises ValueError when the weights are not there.
    """
    import torch

    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    measures: list[Measure] = []
    missing: list[str] = []
    for kind, weights in ((Fvd, fvd), (VBench, vbench)):
        if weights is None:
            continue
        try:
            measures.append(kind(weights, where))
        except NotInstalled as error:
            say(f"{kind.name}: {error}")
            missing.append(kind.name)
    return measures, missing


def _imported(package: Package, name: str) -> Any:
    """The module of this name. Raises NotInstalled when the package is not there."""
    if importlib.util.find_spec(package.module) is None:
        raise NotInstalled(package)
    return importlib.import_module(name)


@contextlib.contextmanager
def _on_stderr() -> Iterator[None]:
    """Send what a package prints to stderr: stdout is for figures."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
