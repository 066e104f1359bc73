"""What a model needs in memory, part by part, and how to run it on a GPU, here or not (`motionstream doctor --plan`).

Our own networks are built without storage and counted; others' (`others.py`) are counted from their published sizes.
Nothing is loaded and no GPU is needed. Working memory and CUDA's own are estimates, said where they are made; the rest
is exact (but for a detail network, 0.1 MiB, which is left out).
"""

from motionstream.plan.choice import LADDER, Plan, choose, planned
from motionstream.plan.needs import Choice, Part, parts
from motionstream.plan.show import as_dict, rows, verdict
from motionstream.plan.subject import Subject, names, subject

__all__ = [
    "LADDER",
    "Choice",
    "Part",
    "Plan",
    "Subject",
    "as_dict",
    "choose",
    "names",
    "parts",
    "planned",
    "rows",
    "subject",
    "verdict",
]
