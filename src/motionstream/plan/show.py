"""Plans for people, as rows of a table and a line each, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motionstream.plan.choice import Plan
from motionstream.plan.memory import GIB, MIB


def rows(plans: Sequence[Plan]) -> list[tuple[str, ...]]:
    """A row a part and a column a plan, the first row being the memories."""
    names = list(dict.fromkeys((part.owner, part.name) for plan in plans for part in plan.parts))
    lines: list[tuple[str, ...]] = [
        ("", *(f"{plan.memory_gib:g} GiB" for plan in plans)),
        ("decoder", *(plan.setup.decoder for plan in plans)),
        ("text encoder on", *(_text_encoder(plan) for plan in plans)),
        ("weights in", *("fp8" if plan.setup.fp8 else "bfloat16" for plan in plans)),
        ("frame", *(_size(plan) for plan in plans)),
        *((name, *(_cell(plan, name) for plan in plans)) for owner, name in names if owner == "model"),
        *((f"a session: {name}", *(_cell(plan, name) for plan in plans)) for owner, name in names if owner != "model"),
        ("on the GPU, one session", *(_gib(plan.fixed + plan.session) for plan in plans)),
        ("of which can be filled", *(_gib(plan.usable) for plan in plans)),
    ]
    if any(plan.host for plan in plans):
        lines.append(("in main memory", *(_gib(plan.host) if plan.host else "" for plan in plans)))
    lines.append(("sessions that fit", *(str(plan.sessions) for plan in plans)))
    return [*lines, ("", *("fits" if plan.fits else f"{_gib(plan.total - plan.usable)} too much" for plan in plans))]


def summary(plan: Plan) -> str:
    """One line: whether it fits, with which setup, and how many sessions."""
    where = f"{plan.model} in {plan.memory_gib:.3g} GiB"
    if not plan.fits:
        sessions = "" if plan.wanted == 1 else f" with {plan.wanted} sessions"
        return f"{where}: does not fit{sessions}, {_gib(plan.total - plan.usable)} too much even with {_setup(plan)}"
    return f"{where}: fits with {_setup(plan)}; memory for {plan.sessions} session{'s' * (plan.sessions != 1)}"


def as_dict(plan: Plan) -> dict[str, Any]:
    """JSON-ready, bytes as MiB."""
    return {
        "model": plan.model,
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


def _cell(plan: Plan, name: str) -> str:
    for part in plan.parts:
        if part.name == name:
            return f"({_gib(part.bytes)})" if part.place == "cpu" else _gib(part.bytes)
    return ""


def _text_encoder(plan: Plan) -> str:
    return plan.setup.encoders.upper() if any(part.name == "text encoder" for part in plan.parts) else "no need"


def _size(plan: Plan) -> str:
    return "×".join(map(str, plan.setup.size))


def _gib(size: int) -> str:
    if size >= GIB / 10:
        return f"{size / GIB:.2f} GiB"
    return f"{size / MIB:.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
