"""Camera control on LLFF, the paper's protocol: photographs with known poses.

`scenes` and `colmap` read the published layout, `evaluation` compares the last generated frame with the photograph from
the target's pose, `cli` is the command.
"""
