"""FVD and VBench of the videos that `evaluate motion --videos` wrote, through packages that the user has installed.

Neither package is a dependency, nothing is downloaded, and weights are read only from the file or folder that is named.

- Fréchet Video Distance (Unterthiner et al., 2018) by `cd-fvd` (Ge et al., CVPR 2024), on I3D features.
- VBench (Huang et al., CVPR 2024), custom input: the dimensions that need no prompts of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from motionstream import console
from motionstream.cli import options
from motionstream.evaluate.harness import stamp
from motionstream.evaluate.metrics import Video
from motionstream.evaluate.pictures.sheets import CRF
from motionstream.stream.video import read_video, write_mp4

LEAST_FRAMES = 9  # frames from which I3D's last pooling has anything to pool
TRUE, MODEL, WARP = range(3)
"""Places of the videos that stand side by side."""

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
LICENCES = {"cd-fvd": "MIT", "vbench": "Apache-2.0"}
"""Of the packages' code; the weights have terms of their own."""


def fvd(files: list[Path], weights: Path, device: str) -> dict[str, Any]:
    """Fréchet distance between the true and the made videos. weights: I3D's file, as the package publishes it.

    Raises ValueError without the package or the file, for fewer than two clips, or one too short for I3D.
    """
    if not weights.is_file():
        raise ValueError(f"--fvd {weights}: no such file; name the I3D weights that cd-fvd publishes")
    if len(files) < 2:
        raise ValueError(f"{len(files)} clips: a Fréchet distance needs two or more")
    module = _imported("cdfvd.fvd", "cd-fvd")
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for figures
        distance = module.cdfvd("i3d", n_real="full", n_fake="full", ckpt_path=str(weights), device=device)
        for file in files:
            videos, _ = _videos(file)
            if len(videos[TRUE]) < LEAST_FRAMES:
                raise ValueError(f"{file}: FVD needs at least {LEAST_FRAMES} frames, this has {len(videos[TRUE])}")
            distance.add_real_stats(videos[TRUE][None])
            distance.add_fake_stats(videos[MODEL][None])
        return {"value": float(distance.compute_fvd_from_stats()), "clips": len(files)}


def vbench(files: list[Path], weights: Path, device: str) -> tuple[dict[str, Any], list[str]]:
    """The mean of each of VBench's seven measures of quality of the made videos, and those whose weights are missing.

    weights: the folder in which its networks lie. Raises ValueError without the package or the folder.
    """
    if not weights.is_dir():
        raise ValueError(f"--vbench {weights}: no such folder; name the one with VBench's weights (VBENCH_CACHE_DIR)")
    os.environ["VBENCH_CACHE_DIR"] = str(weights.resolve())  # read when the package is imported
    module = _imported("vbench", "vbench")
    ready = [name for name, own in VBENCH_WEIGHTS.items() if all((weights / file).exists() for file in own)]
    with tempfile.TemporaryDirectory(prefix="motionstream-vbench-") as folder, contextlib.redirect_stdout(sys.stderr):
        inputs, outputs = (Path(folder) / name for name in ("videos", "results"))
        inputs.mkdir()
        for number, file in enumerate(files):
            videos, fps = _videos(file)
            write_mp4(inputs / f"clip{number:05d}.mp4", videos[MODEL], fps, CRF)
        bench = module.VBench(device, "", str(outputs))
        measured = {name: _dimension(bench, name, inputs, outputs) for name in ready}
    return {"clips": len(files), **measured}, [f"vbench.{name}" for name in VBENCH_WEIGHTS if name not in ready]


def _dimension(bench: Any, name: str, inputs: Path, outputs: Path) -> float:
    more = {"imaging_quality_preprocessing_mode": "longer"} if name == "imaging_quality" else {}
    bench.evaluate(
        videos_path=str(inputs), name=name, dimension_list=[name], local=True, mode="custom_input", **more
    )  # fmt: skip
    mean, _ = json.loads((outputs / f"{name}_eval_results.json").read_text(encoding="utf-8"))[name]
    return float(mean)


def _videos(file: Path) -> tuple[list[Video], float]:
    """The true clip, the model's and the warp, (F, H, W, 3) each, and frames a second."""
    video, fps = read_video(file)
    return np.split(video, WARP + 1, axis=2), fps


def _imported(name: str, package: str) -> Any:
    """The module of this name. Raises ValueError, with what to install, when its package is not there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, name.partition(".")[0]):
            raise
        raise ValueError(f"not installed: pip install {package} (licence: {LICENCES[package]})") from None


def external_command(
    videos: Annotated[Path, typer.Argument(help="The folder that evaluate motion --videos wrote.")],
    fvd_weights: Annotated[Path | None, typer.Option("--fvd", help="I3D weights, for your package cd-fvd.")] = None,
    vbench_weights: Annotated[Path | None, typer.Option("--vbench", help="Weights for your package vbench.")] = None,
    device: options.Device = "cpu",
    json_out: options.JsonOut = None,
) -> None:
    """Measure FVD and VBench's quality of a model's videos with packages that you have installed.

    [bold]python -m benchmarks external side --fvd i3d.pt --vbench weights --device cuda --json external.json[/]
    """
    files = sorted(videos.glob("*.mp4"))
    if not files or (fvd_weights is None and vbench_weights is None):
        raise ValueError(f"{videos}: {len(files)} videos; give some, and the weights for --fvd, --vbench or both")
    figures: dict[str, Any] = {"missing": []}
    if fvd_weights is not None:
        figures["fvd"] = fvd(files, fvd_weights, device)
    if vbench_weights is not None:
        figures["vbench"], figures["missing"] = vbench(files, vbench_weights, device)
    console.report("quality of the videos", {"data": str(videos), **figures, **stamp()}, json_out)
