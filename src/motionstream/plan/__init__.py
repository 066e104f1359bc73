"""What a model costs before it runs: memory of a GPU that streams it (`motionstream doctor --plan`: `choice`, `show`),
memory of GPUs that train it and the time they take (`motionstream train --dry-run`: `training`).

Networks of this project are built without storage and counted by PyTorch; the sizes of published ones are written down
(`external`). Nothing is loaded and no GPU is needed.
"""
