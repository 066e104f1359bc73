"""The paper's own figures, arXiv 2511.01266 (version 5), so that ours can stand beside them and are not taken for them.

Everything here was measured by its authors, with Wan models; nothing of it was reproduced by this project. Figures have
the names that ours have in JSON, so that a table can hold both. The paper counts sinks and windows in chunks of three
latents: its "c3s1w1" is our "c3s3w3", which counts in latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "arXiv 2511.01266v5"
MOTION, STREAMING, CAMERA = "table of motion transfer", "speed of streaming", "table of camera control"
LONG, DECODERS = "table of long video", "App. A, table of decoders"
SMALL, LARGE = "Wan 2.1 1.3B, 480p", "Wan 2.2 5B, 720p"
DAVIS, SORA = "DAVIS, 30 clips", "Sora, 20 clips"


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper.

    figures: by the names that ours have. conditions: backbone and data. where: section or table. machine: None where it
    is not stated.
    """

    name: str
    figures: Mapping[str, float]
    conditions: str
    where: str
    machine: str | None = "H100"

    @property
    def measured_by(self) -> str:
        """Who measured it, on what: "paper, H100", or only "paper" where the machine is not stated."""
        return f"paper, {self.machine}" if self.machine else "paper"


def _transfer(
    name: str, backbone: str, fps: float, davis: tuple[float, ...], sora: tuple[float, ...]
) -> list[PaperRow]:
    """A method's two rows. davis, sora: PSNR in dB, SSIM, LPIPS, EPE in pixels."""
    keys = "psnr_db", "ssim", "lpips", "epe_px"
    return [
        PaperRow(
            name,
            {**dict(zip(keys, figures, strict=True)), "fps": fps},
            f"{backbone}; {data}; measured at 832x480",
            MOTION,
        )
        for data, figures in ((DAVIS, davis), (SORA, sora))
    ]


MOTION_TRANSFER: tuple[PaperRow, ...] = (
    *_transfer(
        "Image Conductor", "AnimateDiff, 256p", 2.98, (11.30, 0.214, 0.664, 91.64), (10.29, 0.192, 0.644, 31.22)
    ),
    *_transfer(
        "Go-with-the-Flow", "CogVideoX-5B, 480p", 0.60, (15.62, 0.392, 0.490, 41.99), (14.59, 0.410, 0.425, 10.27)
    ),
    *_transfer(
        "Diffusion-as-Shader", "CogVideoX-5B, 480p", 0.29, (15.80, 0.372, 0.483, 40.23), (14.51, 0.382, 0.437, 18.76)
    ),
    *_transfer("ATI", "Wan 2.1 14B, 480p", 0.23, (15.33, 0.374, 0.473, 17.41), (16.04, 0.502, 0.366, 6.12)),
    *_transfer("teacher", SMALL, 0.79, (16.61, 0.477, 0.427, 5.35), (17.82, 0.586, 0.333, 2.71)),
    *_transfer("student", SMALL, 16.7, (16.20, 0.447, 0.443, 7.80), (16.67, 0.531, 0.360, 4.21)),
    *_transfer("teacher", LARGE, 0.74, (16.10, 0.466, 0.427, 7.86), (17.18, 0.571, 0.331, 3.16)),
    *_transfer("student", LARGE, 10.4, (16.30, 0.456, 0.438, 11.18), (16.62, 0.545, 0.343, 4.30)),
)

LIVE: tuple[PaperRow, ...] = tuple(
    PaperRow(
        f"student, {decoder}",
        {"fps": fps, "latency_s": latency},
        f"{backbone}; bfloat16, FlashAttention 3",
        STREAMING,
    )
    for backbone, decoder, fps, latency in (
        (SMALL, "tiny VAE", 29.5, 0.39),
        (SMALL, "full VAE", 16.7, 0.69),
        (LARGE, "tiny VAE", 23.9, 0.49),
        (LARGE, "full VAE", 10.4, 1.14),
    )
)

LLFF: tuple[PaperRow, ...] = tuple(
    PaperRow(name, {"psnr_db": psnr, "ssim": ssim, "lpips": lpips}, conditions, CAMERA, machine=None)
    for name, conditions, psnr, ssim, lpips in (
        ("teacher", f"{SMALL}; LLFF; compared at 512x288", 16.0, 0.42, 0.21),
        ("student", f"{SMALL}; LLFF; compared at 512x288", 15.7, 0.38, 0.23),
        ("DepthSplat", "LLFF; compared at 512x288", 13.9, 0.28, 0.30),
        ("ViewCrafter", "LLFF; compared at 512x288", 14.0, 0.30, 0.30),
        ("SEVA", "LLFF; compared at 512x288", 14.1, 0.30, 0.29),
    )
)


def _long(name: str, lpips: float, epe_px: float, latency_s: float, fps: float, spread: str) -> PaperRow:
    figures = {"lpips": lpips, "epe_px": epe_px, "latency_s": latency_s, "fps": fps}
    return PaperRow(name, figures, f"{SMALL}; Sora clips, up to 241 frames; {spread}", LONG)


AS_CHOSEN = _long("c3s1w1, as chosen (c3s3w3 in latents)", 0.464, 25.34, 0.70, 16.92, "± 0.01 s, ± 0.80 FPS")
NO_SINK = _long("c3s0w1, no sink (c3s0w3)", 0.501, 26.64, 0.68, 17.43, "± 0.005 s, ± 0.88 FPS")
SHORT_CHUNK = _long("c1s1w1, chunks of one latent", 0.597, 76.21, 0.30, 13.26, "± 0.01 s, ± 1.36 FPS")
UNBOUNDED = _long("c3s0w6, unbounded RoPE (Self Forcing; c3s0w18)", 0.480, 28.09, 0.80, 14.96, "± 0.08 s, ± 1.42 FPS")

VAE: tuple[PaperRow, ...] = tuple(
    PaperRow(
        name,
        {"parameters_m": parameters, "clip_decode_s": seconds, "psnr_db": psnr, "ssim": ssim, "lpips": lpips},
        "81 frames, 832x480",
        DECODERS,
    )
    for name, parameters, seconds, psnr, ssim, lpips in (
        ("Wan 2.1, full", 73.3, 1.67, 31.43, 0.934, 0.069),
        ("TAEHV, Wan 2.1", 9.84, 0.12, 28.85, 0.899, 0.168),
        ("tiny, Wan 2.1", 9.84, 0.12, 29.27, 0.904, 0.107),
        ("Wan 2.2, full", 555.0, 1.75, 31.87, 0.938, 0.065),
        ("tiny, Wan 2.2", 56.7, 0.23, 28.43, 0.883, 0.126),
    )
)
