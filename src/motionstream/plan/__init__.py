"""What a model costs: operations, bytes and time of a chunk, memory of a GPU that streams it or of GPUs that train it.

Networks of this project are built without storage and counted by PyTorch; the sizes of published ones are written down
(`external.py`). Nothing is loaded and no GPU is needed. Readers: `motionstream doctor --plan` (`choice.py`, `show.py`),
`motionstream train --dry-run` (`training.py`) and the prediction of live speed (`speed.py`).
"""

from motionstream.plan.choice import Plan, choose, plan_of, setups
from motionstream.plan.memory import Part, Setup, parts
from motionstream.plan.models import ModelSizes, model_sizes, names
from motionstream.plan.show import as_dict, rows, summary

__all__ = [
    "ModelSizes",
    "Part",
    "Plan",
    "Setup",
    "as_dict",
    "choose",
    "model_sizes",
    "names",
    "parts",
    "plan_of",
    "rows",
    "setups",
    "summary",
]
