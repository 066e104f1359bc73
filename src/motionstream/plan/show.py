"""Plans for people, as rows of a table and a line each, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motionstream.plan.choice import Plan
from motionstream.plan.memory import GIB, MIB, Part


def rows(plans: Sequence[Plan]) -> list[tuple[str, ...]]:
    """A row a part and a column a plan, the first row being the memories."""
    parts = [{(part.owner, part.name): part for part in plan.parts} for plan in plans]
    names = sorted({key: None for of_plan in parts for key in of_plan}, key=lambda key: key[0] != "model")
    lines: list[tuple[str, list[str]]] = [
        ("", [f"{plan.memory_gib:g} GiB" for plan in plans]),
        ("decoder", [plan.setup.decoder for plan in plans]),
        ("text encoder on", [plan.setup.encoders.upper() if plan.model.full_vae else "no need" for plan in plans]),
        ("weights in", ["fp8" if plan.setup.fp8 else "bfloat16" for plan in plans]),
        ("frame", [_size(plan) for plan in plans]),
        *(
            (f"a session: {name}" if owner == "session" else name, [_cell(of.get((owner, name))) for of in parts])
            for owner, name in names
        ),
        ("on the GPU, one session", [_gib(plan.fixed + plan.session) for plan in plans]),
        ("of which can be filled", [_gib(plan.usable) for plan in plans]),
        ("in main memory", [_gib(plan.host) if plan.host else "" for plan in plans]),
        ("sessions that fit", [str(plan.sessions) for plan in plans]),
        ("", ["fits" if plan.fits else f"{_gib(plan.total - plan.usable)} too much" for plan in plans]),
    ]
    return [(name, *cells) for name, cells in lines if any(cells)]


def summary(plan: Plan) -> str:
    """One line: whether it fits, with which setup, and how many sessions."""
    where = f"{plan.model.name} in {plan.memory_gib:.3g} GiB"
    if not plan.fits:
        sessions = "" if plan.wanted == 1 else f" with {plan.wanted} sessions"
        return f"{where}: does not fit{sessions}, {_gib(plan.total - plan.usable)} too much even with {_setup(plan)}"
    return f"{where}: fits with {_setup(plan)}; memory for {plan.sessions} session{'s' * (plan.sessions != 1)}"


def as_dict(plan: Plan) -> dict[str, Any]:
    """JSON-ready, bytes as MiB."""
    return {
        "model": plan.model.name,
        "memory_gib": plan.memory_gib,
        "fits": plan.fits,
        "sessions_wanted": plan.wanted,
        "sessions_that_fit": plan.sessions,
        "decoder": plan.setup.decoder,
        "encoders_on": plan.setup.encoders,
        "fp8": plan.setup.fp8,
        "size": list(plan.setup.size),
        "parts": [
            {"name": part.name, "mib": part.bytes / MIB, "once_a": part.owner, "on": part.place} for part in plan.parts
        ],
        "fixed_mib": plan.fixed / MIB,
        "session_mib": plan.session / MIB,
        "total_mib": plan.total / MIB,
        "usable_mib": plan.usable / MIB,
        "main_memory_mib": plan.host / MIB,
    }


def _setup(plan: Plan) -> str:
    encoders = [f"encoders on the CPU ({_gib(plan.host)} of main memory)"] if plan.host else []
    weights = ["fp8 weights"] if plan.setup.fp8 else []
    return ", ".join([f"the {plan.setup.decoder} decoder", *encoders, *weights, f"frames of {_size(plan)}"])


def _cell(part: Part | None) -> str:
    if part is None:
        return ""
    return f"({_gib(part.bytes)})" if part.place == "cpu" else _gib(part.bytes)


def _size(plan: Plan) -> str:
    return "×".join(map(str, plan.setup.size))


def _gib(size: int) -> str:
    if size >= GIB / 10:
        return f"{size / GIB:.2f} GiB"
    return f"{size / MIB:.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
