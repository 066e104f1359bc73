"""The probe tells classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from motionstream.evaluate.probe import Probe

pytest.importorskip("cv2", reason="the tracker needs OpenCV (extra: evaluate)")


def test_a_probe_finds_what_tells_classes_apart() -> None:
    rng = np.random.default_rng(0)
    labels = [("calm", "loud")[n % 2] for n in range(60)]
    clips = [{"useless": rng.normal(), "level": rng.normal() + 6 * (label == "loud")} for label in labels]
    probe = Probe.fit(clips[:40], labels[:40])
    assert probe.names_of(clips[40:]) == labels[40:]
    assert probe.names_of([]) == []
    with pytest.raises(ValueError, match="two classes or more"):
        Probe.fit(clips[:2], ["calm", "calm"])
