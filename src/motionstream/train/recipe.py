"""Recipes: everything that decides a training run, typed and frozen, saved as JSON beside the weights.

A recipe belongs to one stage. Named ones are in `recipes`; `changed` applies `--set key=value`; unknown keys are
errors that name the nearest one. Lengths in time are latents unless they say frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

from motionstream.data.effects import SHARE
from motionstream.model_folder import Live
from motionstream.tiny.detail import DetailConfig
from motionstream.tiny.prompt_filter import PromptFilterConfig
from motionstream.tiny.vae import TinyVAEConfig
from motionstream.train.typed import parsed, shaped
from motionstream.wan.taehv import TaehvConfig

R = TypeVar("R", bound="Recipe")
Changes: TypeAlias = Mapping[str, Any]
"""Field of a recipe → value."""

RECIPE_FILE = "recipe.json"
"""Beside the weights of a run."""
FPS = 24.0
"""Frames a second of our own models."""
NETWORK_SIZES = ("width", "layers", "heads", "ffn", "text_dim", "text_tokens")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of the DiT and what it reads; channel counts follow from the VAE (docs/architecture.md, section 7).

    dit: a row of `dit.config.CONFIGS`, such as "wan2.1-1.3b"; then the sizes are that row's and stay 0 here.
    anchored: corrects the warped anchor, whose channels it reads (`tiny.network`); else the paper's.
    encoded_text: prompts come encoded with the clips (Wan's UMT5); else a text encoder is learned along.
    image_dim: channels of the first picture's tokens (Wan 2.1's CLIP), 0 without them; a named row has its own.
    """

    dit: str = ""
    width: int = 0
    layers: int = 0
    heads: int = 0
    ffn: int = 0
    text_dim: int = 0
    text_tokens: int = 0
    track_channels: int
    anchored: bool
    encoded_text: bool = False
    image_dim: int = 0

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in NETWORK_SIZES}
        if self.dit and (any(sizes.values()) or self.image_dim):
            raise ValueError(f"network.dit = {self.dit!r} has sizes of its own: leave {', '.join(NETWORK_SIZES)} at 0")
        if not self.dit and not all(size > 0 for size in sizes.values()):
            raise ValueError(f"network: {', '.join(n for n in sizes if sizes[n] < 1)} missing; or name a dit")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every stage has.

    name: of the recipe. size: (W, H) in pixels. frames: of a training clip, 1 + 4 n. batch: clips a pass; accumulate:
    passes a step. steps: of the whole run. warmup_steps: of the rate. decay_fraction: last part of the run in
    which the rate falls to 0. clip: largest gradient norm. ema_decay: of the averaged weights.
    dtype: of autocast ("bfloat16", "float32"). device: "auto", "cpu", "cuda". sheet_every, log_every: steps.
    effect_share: of synthetic clips that have weather or a film look, which only the prompt names. variety: of
    synthetic clips whose things also turn in depth, swing, shake, blur or are cut from the photograph
    (`data.synthetic`).
    """

    stage: ClassVar[str]

    name: str
    size: tuple[int, int]
    frames: int
    batch: int
    accumulate: int = 1
    steps: int
    lr: float
    weight_decay: float = 0.01
    optimizer: str = "adamw"
    warmup_steps: int = 100
    decay_fraction: float = 0.2
    clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    dtype: str = "bfloat16"
    device: str = "auto"
    effect_share: float = SHARE
    variety: float = 0.0
    save_minutes: float = 4.0
    log_every: int = 10
    sheet_every: int = 500

    def __post_init__(self) -> None:
        for field in ("frames", "batch", "accumulate", "steps", "log_every", "sheet_every"):
            if getattr(self, field) < 1:
                raise ValueError(f"recipe {self.name}: {field} = {getattr(self, field)}, must be at least 1")
        if self.frames % 4 != 1:
            raise ValueError(f"recipe {self.name}: frames = {self.frames}, a clip has 1 + 4·n frames")
        for field in ("effect_share", "variety"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"recipe {self.name}: {field} = {getattr(self, field)}, a share is from 0 to 1")
        if self.dtype not in ("bfloat16", "float32"):
            raise ValueError(f"recipe {self.name}: dtype = {self.dtype!r}, use 'bfloat16' or 'float32'")


@dataclass(frozen=True, kw_only=True)
class TinyVAERecipe(Recipe):
    """Stages "vae" and "vae-decoder" (paper Appendix A, in small).

    crop: side in pixels of the square cut from each clip. edge_weight: of the error of pixel differences beside the
    absolute error's 1. size_weight: of the penalty on latents larger than unit size. latent_noise: standard
    deviation of noise on the latents before decoding. whitening: 0 … 1, how far the latents' channels are brought to
    equal variance. lpips_weight: of LPIPS beside the absolute error's 1, with the weights in the file `lpips`.
    init_from: run to start from, "" = from principal components. decoder_only: the latents stay what they are, so that
    a network trained on them can be kept; the decoder may then be of other sizes than that of `init_from`, and starts
    from its linear path.
    """

    stage: ClassVar[str] = "vae"

    vae: TinyVAEConfig
    crop: int
    edge_weight: float = 1.0
    size_weight: float = 0.01
    latent_noise: float = 0.1
    whitening: float = 0.5
    lpips_weight: float = 0.0
    lpips: str = ""
    init_from: str = ""
    decoder_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder_only and not self.init_from:
            raise ValueError(f"recipe {self.name}: decoder_only needs latents that mean something: name init_from")


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe(Recipe):
    """Stage "decoder": a tiny decoder of a full VAE's latents (paper Appendix A).

    crop: side in pixels of the square cut from each clip, once that covers `size`. lpips_weight: beside the absolute
    error's 1. adversarial_weight: size of the critic's gradient at the last layer, as a share of that of
    the other two; from the step `adversarial_start` on. critic_width: channels of its first layer.
    vae: run of stage "vae" in the chain, or a folder with Wan's. lpips: file of LPIPS weights (`vae.lpips`). clips:
    folder of videos, "" = synthetic worlds. init_from: file of a decoder to start from, "" = from nothing.
    """

    stage: ClassVar[str] = "decoder"

    decoder: TaehvConfig
    crop: int
    lpips_weight: float
    adversarial_weight: float
    adversarial_start: int
    critic_width: int
    lr_critic: float
    vae: str = "vae"
    lpips: str = ""
    clips: str = ""
    init_from: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        cell = 8 * self.decoder.patch
        if self.crop < cell or self.crop % cell or self.crop > min(self.size):
            raise ValueError(
                f"recipe {self.name}: crop = {self.crop}, must be a multiple of {cell} and fit into {self.size}"
            )


@dataclass(frozen=True, kw_only=True)
class ControlledRecipe(Recipe):
    """What the stages on clips with tracks share.

    shift: k of the times (paper: 6). points_min, points_max: tracks drawn for a clip (paper: 1 000–2 500 at 832×480).
    mask_probability: of a chunk of middle frames losing its tracks (paper Section 3.1). vae: run of the VAE.
    """

    network: Network
    shift: float = 6.0
    points_min: int
    points_max: int
    mask_probability: float = 0.0
    vae: str = "vae"


@dataclass(frozen=True, kw_only=True)
class MotionRecipe(ControlledRecipe):
    """What the stages that train a DiT share.

    data: "synthetic" (worlds made while it trains) or "shards" (clips that `motionstream data encode` prepared); then
    `vae` is the kind that encoded them ("wan2.1", "wan2.2"), not a run. sharded: weights, gradients and moments are
    split over the ranks (FSDP2); else every rank holds all. activation_checkpointing: a block keeps its input alone
    and computes the rest again in the backward pass.
    """

    data: str = "synthetic"
    sharded: bool = False
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data not in ("synthetic", "shards"):
            raise ValueError(f"recipe {self.name}: data = {self.data!r}, use 'synthetic' or 'shards'")
        if self.network.encoded_text != (self.data == "shards"):
            raise ValueError(f"recipe {self.name}: encoded_text goes with data = 'shards', which hold encoded prompts")


@dataclass(frozen=True, kw_only=True)
class DroppingRecipe(MotionRecipe):
    """Stages that learn joint guidance.

    text_drop, track_drop, both_drop: shares of clips that lose the prompt, the tracks, both. anchor_drop: share that
    loses the warped anchor.
    """

    text_drop: float = 0.1
    track_drop: float = 0.1
    both_drop: float = 0.1
    anchor_drop: float = 0.1


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(DroppingRecipe):
    """Stages "teacher" and "teacher-mask" (paper Section 3.1): flow matching with guidance dropout.

    mask_probability: paper: 0.2, in the second stage only. init_from: run to start from, "" = from nothing.
    """

    stage: ClassVar[str] = "teacher"

    init_from: str = ""


@dataclass(frozen=True, kw_only=True)
class CausalInitRecipe(DroppingRecipe):
    """Stage "causal": the teacher's weights learn to see only sink, window and their own chunk (paper Section 3.2).

    sinks, windows, chunks: latents, drawn anew for each step (paper: random sinks, windows and masks). diffusion_steps:
    steps of teacher-forced flow matching before consistency distillation. ode_steps: times on the distillation's clock.
    w_t, w_m: joint guidance of the teacher (paper: 3.0 and 1.5). target_decay: of the average that is the target.
    """

    stage: ClassVar[str] = "causal"

    sinks: tuple[int, ...]
    windows: tuple[int, ...]
    chunks: tuple[int, ...]
    diffusion_steps: int
    ode_steps: int = 48
    w_t: float = 3.0
    w_m: float = 1.5
    target_decay: float = 0.99
    mask_probability: float = 0.2
    teacher: str = "teacher-mask"

    @property
    def live(self) -> Live:
        """How the student is run: with the longest of what it learns, in the paper's three calls a chunk."""
        return Live(self.size, FPS, max(self.chunks), max(self.sinks), max(self.windows), 3, self.shift)


@dataclass(frozen=True, kw_only=True)
class StreamedRecipe(ControlledRecipe):
    """Stages in which a student rolls out: one set of numbers for how it is trained and how it is run.

    chunk, sink, window: latents (paper: 3, 3, 3 = "c3s1w1"). denoising_steps: calls a chunk (paper: 3). clean_pass:
    whether later chunks see keys and values of the clean chunk, from one more call at t = 0 (paper), or those of the
    last denoising call (one call fewer).
    """

    chunk: int = 3
    sink: int = 3
    window: int = 3
    denoising_steps: int = 3
    clean_pass: bool = True

    @property
    def live(self) -> Live:
        """How the student is run, in training and once packed."""
        sizes = self.chunk, self.sink, self.window, self.denoising_steps
        return Live(self.size, FPS, *sizes, self.shift, clean_pass=self.clean_pass)


@dataclass(frozen=True, kw_only=True)
class RolloutRecipe(StreamedRecipe, MotionRecipe):
    """Stage "rollout": rollouts on own outputs, trained on the true clips.

    frames: rolled out. vacant_weight: of the squared error where nothing of the anchor's picture has landed, beside 1
    elsewhere: little of a clip, and all that a warp leaves to the network. ema_start: steps. idle: share of synthetic
    clips that stand still, without tracks, as a viewer's picture is before the first gesture. history_noise: largest
    standard deviation of a shift, a channel each, that is added to a clip's past beyond the sink, so that a stream that
    has lost its colours learns to find them again; only with a clean pass, into which it goes. causal: run that
    the student starts from, "" = from nothing, which an anchored network can: with all weights at their start it is
    the warp. activation_checkpointing: only with a clean pass.
    """

    stage: ClassVar[str] = "rollout"

    vacant_weight: float = 0.0
    ema_start: int = 0
    mask_probability: float = 0.2
    idle: float = 0.0
    history_noise: float = 0.0
    causal: str = "causal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history_noise and not self.clean_pass:
            raise ValueError(
                f"recipe {self.name}: history_noise = {self.history_noise} is added to clean chunks on their way to "
                "the past, and without clean_pass none go there: set history_noise = 0"
            )
        if not self.causal and not self.network.anchored:
            raise ValueError(
                f"recipe {self.name}: rollouts from nothing (causal = '') need network.anchored = true, "
                "which starts as the warp; name the run that the student starts from"
            )


@dataclass(frozen=True, kw_only=True)
class SelfForcingRecipe(RolloutRecipe):
    """Stage "self-forcing": rollouts on own outputs, scored by teacher and critic (paper Section 3.2, DMD).

    w_t, w_m: joint guidance in the real score (paper: 3.0, 1.5); the critic has none. critic_ratio: critic steps for
    one of the generator (paper: 5). lr_critic: paper: a fifth of the generator's. truth_weight: of the rollout's
    squared error against the true clip, beside DMD's loss; beyond the paper, whose data has no truth for its controls,
    while synthetic worlds do. t_min, t_max: times at which the rollout is scored. steps counts critic steps; ema_start:
    generator steps.
    """

    stage: ClassVar[str] = "self-forcing"

    w_t: float = 3.0
    w_m: float = 1.5
    critic_ratio: int = 5
    truth_weight: float = 0.0
    lr_critic: float
    t_min: float = 0.02
    t_max: float = 0.98
    teacher: str = "teacher-mask"

    def __post_init__(self) -> None:
        super().__post_init__()
        for run in ("causal", "teacher"):
            if not getattr(self, run):
                raise ValueError(
                    f"recipe {self.name}: {run} = '' names no run, and Self Forcing needs one; stage rollout can start "
                    "from nothing"
                )


@dataclass(frozen=True, kw_only=True)
class DetailRecipe(StreamedRecipe):
    """Stage "detail": the network that takes texture from the warped anchor, trained on the student's own rollouts.

    edge_weight: of the error of pixel differences beside the absolute error's 1. vacant_weight: of the absolute error
    where nothing of the anchor's picture lands, beside 1 elsewhere. student: run of the finished student. init_from: an
    earlier run whose averaged weights it goes on from, "" = from nothing.
    """

    stage: ClassVar[str] = "detail"

    detail: DetailConfig
    edge_weight: float = 1.0
    vacant_weight: float = 0.0
    text_drop: float = 0.1
    student: str = "self-forcing"
    init_from: str = ""


@dataclass(frozen=True, kw_only=True)
class PromptFilterRecipe(Recipe):
    """Stage "prompt-filter": what the prompt's words do to whole frames (`tiny/prompt_filter.py`).

    batch: worlds a step, each under every effect. shown: frames in a row that are drawn of each. texture_weight,
    shape_weight: of the textures' distances (`train/texture.py`) beside the colours' error, once the share texture_from
    of the run is done: effects are learned by their colours first, in steps of a third of the time. sparsity_weight: of
    the penalty on particles, so that an effect uses few kinds of them; from the share sparsity_from of the run on, when
    they have grown. init_from: an earlier run whose averaged weights it goes on from.
    """

    stage: ClassVar[str] = "prompt-filter"

    prompt_filter: PromptFilterConfig
    shown: int = 2
    texture_weight: float = 0.15
    shape_weight: float = 0.3
    sparsity_weight: float = 5e-4
    texture_from: float = 0.3
    sparsity_from: float = 0.5
    init_from: str = ""


RECIPES: dict[str, type[Recipe]] = {
    "vae": TinyVAERecipe,
    "teacher": TeacherRecipe,
    "teacher-mask": TeacherRecipe,
    "causal": CausalInitRecipe,
    "self-forcing": SelfForcingRecipe,
    "rollout": RolloutRecipe,
    "vae-decoder": TinyVAERecipe,
    "detail": DetailRecipe,
    "prompt-filter": PromptFilterRecipe,
    "decoder": DecoderRecipe,
}
"""Stage on the command line → kind of its recipe."""


def to_json(recipe: Recipe) -> str:
    return json.dumps({"stage": recipe.stage, **dataclasses.asdict(recipe)}, indent=1, ensure_ascii=False)


def from_json(text: str, source: str = "recipe") -> Recipe:
    """Raises ValueError for unknown stages and keys, missing keys and wrong types; source names where it came from."""
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("stage") not in RECIPES:
        raise ValueError(f'{source}: "stage" must be one of {", ".join(RECIPES)}')
    kind = RECIPES[values.pop("stage")]
    return shaped(values, kind, source)


def load(path: Path) -> Recipe:
    return from_json(path.read_text(encoding="utf-8"), str(path))


def save(recipe: Recipe, path: Path) -> None:
    path.write_text(to_json(recipe) + "\n", encoding="utf-8")


def changed(recipe: R, settings: Iterable[str]) -> R:
    """The recipe after "key=value" settings, such as "lr=1e-3", "size=160,96" or "vae.latent_channels=24"."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"setting {setting!r}: write key=value, as in lr=1e-3")
        recipe = parsed(recipe, key.strip(), text.strip())
    return recipe


def derived(kind: type[R], base: Recipe, **changes: Any) -> R:
    """A recipe of this kind with what `base` sets of the same fields, and these changes."""
    names = {field.name for field in dataclasses.fields(kind)} & {field.name for field in dataclasses.fields(base)}
    return kind(**{**{name: getattr(base, name) for name in names}, **changes})


def variant(chain: Mapping[str, Recipe], common: Changes, changes: Mapping[str, Changes]) -> dict[str, Recipe]:
    """The recipes of a chain, by stage, with changes that all of them have and with each stage's own."""
    return {stage: dataclasses.replace(chain[stage], **{**common, **own}) for stage, own in changes.items()}


def digest(recipe: Recipe) -> str:
    """SHA-256 of the recipe, recorded in every checkpoint."""
    return hashlib.sha256(to_json(recipe).encode()).hexdigest()


def differences(old: Recipe, new: Recipe) -> list[str]:
    """What changed between two recipes, a line for each field: "lr: 0.001 → 0.0005"."""
    before, after = json.loads(to_json(old)), json.loads(to_json(new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)} → {after.get(key)}" for key in keys]
