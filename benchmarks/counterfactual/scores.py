"""Figures of all clips → what is reported of each generator, and of the tracker."""

from __future__ import annotations

from typing import Any

from benchmarks.counterfactual.found import WITHIN
from benchmarks.counterfactual.variants import AS_FAST, DELAYED, STOPPED, SWAPPED, TRUE, VARIANTS
from motionstream.evaluate.motion import ratio
from motionstream.evaluate.tally import Tally


def counted_on(tally: Tally) -> dict[str, Any]:
    """How much of the tracks given could be counted on, over all variants and each."""
    kept = tally.pooled(*(f"tracker.{variant}" for variant in VARIANTS))
    return {
        "within_px": WITHIN,
        "kept": int(kept.total),
        "kept_share": kept.value,
        "kept_share_by_variant": {variant: tally.value(f"tracker.{variant}") for variant in VARIANTS},
    }


def score_of(tally: Tally, name: str, control: str) -> dict[str, Any]:
    """One generator: the headline over mirrored and turned, then every variant, and sensitivity."""
    return {
        **_against(tally, name, AS_FAST),
        "variants": {
            variant: {**_against(tally, name, (variant,)), **_leakage(tally, name, (variant,))} for variant in VARIANTS
        },
        **({} if control == "dense" else {"leakage": _leakage(tally, name, (TRUE, *AS_FAST, DELAYED, SWAPPED))}),
        "sensitivity": {
            "occluded": {
                "in_place_while_hidden_share": tally.value(f"{name}.occluded.hidden"),
                "in_place_when_back_share": tally.value(f"{name}.occluded.back"),
            },
            "released": {
                "stayed_where_left_share": tally.value(f"{name}.released.stayed"),
                "went_home_share": tally.value(f"{name}.released.home"),
            },
            "pinned": {
                "pins_moved_px": tally.value(f"{name}.pinned.pins"),
                "same_unpinned_moved_px": tally.value(f"{name}.pinned.free"),
                "dragged_epe_px": tally.value(f"{name}.pinned.dragged"),
            },
        },
    }


def _against(tally: Tally, name: str, some: tuple[str, ...]) -> dict[str, Any]:
    """Where the tracker can be trusted, then everywhere."""
    figures: dict[str, Any] = {}
    counts: list[int] = []
    for places in ("", "_all"):
        given = tally.pooled(*(f"{name}.{variant}.given{places}" for variant in some))
        other = tally.pooled(*(f"{name}.{variant}.not_given{places}" for variant in some))
        figures |= {f"epe_given{places}_px": given.value, f"epe_not_given{places}_px": other.value}
        if some != (STOPPED,):  # to stand still when told so is no feat: no ratio
            figures[f"control_ratio{places}"] = ratio(other.value, given.value)
        counts.append(given.count)
    return {**figures, "counted": counts[0], "counted_share": ratio(*counts)}


def _leakage(tally: Tally, name: str, some: tuple[str, ...]) -> dict[str, Any]:
    leaked = tally.pooled(*(f"{name}.{variant}.leaked" for variant in some))
    travel = tally.pooled(*(f"{variant}.travel" for variant in some))
    return {"leakage_px": leaked.value, "leakage_share": ratio(leaked.value, travel.value)}
