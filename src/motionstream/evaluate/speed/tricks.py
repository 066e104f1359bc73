"""`motionstream bench tricks`: what each of the tricks that make the live step fast gives, taken away one at a time.

A row is a pair of live streams, the model as shipped and the same without that trick (`without`), which take turns
(`turns`); the ratio is taken within a round, so that what else the machine does meets both. A ratio over 1 says that
the trick makes the step faster. What it does to the picture stands beside it.

For models of our own, on a CPU. Memory settings are read when a program starts, so that pair are two processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from motionstream.dit.attention import attention_backend
from motionstream.evaluate import machine
from motionstream.evaluate.speed.turns import FarForm, LiveForm, Pair, Round, figures
from motionstream.evaluate.speed.without import CPU, TRICKS, NotHere, Subject, Trick
from motionstream.fast.products import fastest_dtype
from motionstream.model_folder import OWN, read_header
from motionstream.zoo import folder_of

ROUNDS, STEPS = 10, 4
MALLOC = "malloc settings"
MALLOC_IS = "large buffers are used again; without: glibc as it is, in a process of its own each"

Environment = Mapping[str, str]
Over = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Row:
    """A trick's name, what it is, its pair of streams, and whether both show the same picture."""

    name: str
    what: str
    beside: str
    pair: Pair
    same_picture: bool = True


def bench_tricks(
    model: str | Path,
    rounds: int = ROUNDS,
    steps: int = STEPS,
    seed: int = 0,
    over: Over = iter,
    malloc: tuple[Environment, Environment] | None = None,
    tricks: Iterable[Trick] = TRICKS,
    dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """What each trick gives, JSON-ready; `left_out` says which are not there to be taken away, and why.

    steps: counted in a turn. over: goes through the rounds (a progress bar). malloc: environments of a process with the
    memory settings and of one without; None: this system has none. dtype: another one than is fastest here.
    Raises ValueError on fewer than one round or step, and on a model that is not our own.
    """
    if rounds < 1 or steps < 1:
        raise ValueError(f"{rounds} rounds of {steps} steps: measure at least 1 of 1")
    subject = subject_of(model, dtype)
    with ExitStack() as stack:
        rows, left_out = rows_of(subject, tricks, seed)
        if malloc is None:
            left_out[MALLOC] = "only glibc has them"
        else:
            rows.append(_malloc_row(subject, seed, malloc, stack))
        found = measured(rows, rounds, steps, over)
    return {
        "rounds": rounds,
        "steps_a_turn": steps,
        "tricks": found,
        "left_out": left_out,
        **_described(subject),
        "machine": machine.describe(),
        "date": machine.today(),
    }


def subject_of(model: str | Path, dtype: torch.dtype | None = None) -> Subject:
    """The model in the dtype that it runs in here. Raises ValueError on one that is not our own."""
    folder = folder_of(model)
    if read_header(folder)["kind"] != OWN:
        raise ValueError(f"{model}: bench tricks takes models of our own, such as tiny; use bench gpu for others")
    return Subject(folder, dtype or fastest_dtype(CPU))


def rows_of(subject: Subject, tricks: Iterable[Trick], seed: int = 0) -> tuple[list[Row], dict[str, str]]:
    """Rows of the tricks that can be taken away here, and why the others cannot."""
    rows, left_out = [], {}
    for trick in tricks:
        try:
            lacking = LiveForm(trick.without(subject), seed, trick.layout)
        except NotHere as why:
            left_out[trick.name] = str(why)
            continue
        beside = "as shipped, in float32" if trick.in_float32 else "as shipped"
        pair = Pair(LiveForm(trick.base(subject), seed), lacking)
        rows.append(Row(trick.name, trick.what, beside, pair, trick.same_picture))
    return rows, left_out


def measured(rows: Iterable[Row], rounds: int, steps: int, over: Over = iter) -> dict[str, dict[str, Any]]:
    """Figures by name. In every round each pair takes its turns."""
    rows = list(rows)
    taken: dict[str, list[Round]] = {row.name: [] for row in rows}
    for index in over(range(rounds)):
        for row in rows:
            taken[row.name].append(row.pair.round(index, steps))
    return {
        row.name: {"what": row.what, "beside": row.beside, **figures(taken[row.name], row.same_picture)} for row in rows
    }


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """For people: a head and a line for each trick."""
    head = ("trick", "times", "range", "of CPU", "ms without", "pixels off")
    return [head, *((name, *_cells(row)) for name, row in found.items())]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    times = row["times"]
    return (
        f"{times['median']:.2f}",
        f"{times['min']:.2f}–{times['max']:.2f}",
        f"{row['times_process']['median']:.2f}",
        f"{row['without_ms']:.1f}",
        str(row["difference"]["max"]) if row["same_picture"] else "another",
    )


def _malloc_row(subject: Subject, seed: int, malloc: tuple[Environment, Environment], stack: ExitStack) -> Row:
    having, lacking = (
        stack.enter_context(FarForm(subject.folder, subject.dtype, seed, environment)) for environment in malloc
    )
    return Row(MALLOC, MALLOC_IS, "as shipped", Pair(having, lacking))


def _described(subject: Subject) -> dict[str, Any]:
    """What was measured."""
    model = subject.shipped
    config = model.network.dit.config
    return {
        "model_hash": model.hash,
        "dtype": str(subject.dtype).removeprefix("torch."),
        "attention": attention_backend(CPU, dtype=subject.dtype, head_dim=config.head_dim),
        "size": "x".join(map(str, model.size)),
        "chunk_frames": model.rollout_config.chunk * model.geometry.temporal_stride,
        "calls": len(model.rollout_config.times),
    }
