"""Plans for people, as rows of a table and a line, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motionstream.plan.choice import Plan
from motionstream.plan.needs import GIB, MIB, Part


def rows(plans: Sequence[Plan]) -> list[tuple[str, ...]]:
    """A row a part and a column a plan, the first row being the memories."""
    names = list(dict.fromkeys((part.name, part.once) for plan in plans for part in plan.parts))
    lines: list[tuple[str, ...]] = [
        ("", *(f"{plan.memory_gib:g} GiB" for plan in plans)),
        ("decoder", *(plan.choice.decoder for plan in plans)),
        ("text encoder on", *(_encoders(plan) for plan in plans)),
        ("weights in", *("fp8" if plan.choice.fp8 else "bfloat16" for plan in plans)),
        ("frame", *(_size(plan) for plan in plans)),
    ]
    for once in ("model", "session"):
        lines += [
            (f"{'a session: ' if once == 'session' else ''}{name}", *(_cell(plan, name) for plan in plans))
            for name, when in names
            if when == once
        ]
    host = ("in main memory", *(_gib(plan.host) if plan.host else "" for plan in plans))
    return [
        *lines,
        ("on the GPU, one session", *(_gib(plan.fixed + plan.session) for plan in plans)),
        ("of which can be filled", *(_gib(plan.usable) for plan in plans)),
        *([host] if any(host[1:]) else []),
        ("sessions that fit", *(str(plan.sessions) for plan in plans)),
        ("", *(_mark(plan) for plan in plans)),
    ]


def verdict(plan: Plan) -> str:
    """One line: whether it fits, how, and how many sessions."""
    where = f"{plan.model} in {plan.memory_gib:.3g} GiB"
    if not plan.fits:
        sessions = "" if plan.wanted == 1 else f" with {plan.wanted} sessions"
        return f"{where}: does not fit{sessions}, {_gib(plan.total - plan.usable)} too much even with {_how(plan)}"
    return f"{where}: fits with {_how(plan)}; memory for {plan.sessions} session{'s' * (plan.sessions != 1)}"


def as_dict(plan: Plan) -> dict[str, Any]:
    """JSON-ready, bytes as MiB."""
    return {
        "model": plan.model,
        "memory_gib": plan.memory_gib,
        "fits": plan.fits,
        "sessions_wanted": plan.wanted,
        "sessions_that_fit": plan.sessions,
        "decoder": plan.choice.decoder,
        "encoders_on": plan.choice.encoders,
        "fp8": plan.choice.fp8,
        "size": list(plan.choice.size),
        "parts": [_part(part) for part in plan.parts],
        "fixed_mib": plan.fixed / MIB,
        "session_mib": plan.session / MIB,
        "total_mib": plan.total / MIB,
        "usable_mib": plan.usable / MIB,
        "main_memory_mib": plan.host / MIB,
    }


def _part(part: Part) -> dict[str, Any]:
    return {"name": part.name, "mib": part.bytes / MIB, "once_a": part.once, "on": part.place}


def _how(plan: Plan) -> str:
    choice = plan.choice
    said = [f"the {choice.decoder} decoder", f"frames of {_size(plan)}"]
    if plan.host:
        said.insert(1, f"encoders on the CPU ({_gib(plan.host)} of main memory)")
    if choice.fp8:
        said.insert(-1, "fp8 weights")
    return ", ".join(said)


def _cell(plan: Plan, name: str) -> str:
    part = next((part for part in plan.parts if part.name == name), None)
    if part is None:
        return ""
    return f"({_gib(part.bytes)})" if part.place == "cpu" else _gib(part.bytes)


def _encoders(plan: Plan) -> str:
    return plan.choice.encoders.upper() if any(part.name == "text encoder" for part in plan.parts) else "no need"


def _mark(plan: Plan) -> str:
    return "fits" if plan.fits else f"{_gib(plan.total - plan.usable)} too much"


def _size(plan: Plan) -> str:
    return "×".join(map(str, plan.choice.size))


def _gib(size: int) -> str:
    if size >= GIB / 10:
        return f"{size / GIB:.2f} GiB"
    return f"{size / MIB:.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
