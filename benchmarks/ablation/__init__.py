"""What each choice is worth (paper, tables of ablations): one thing changed at a time, on the same held-out clips.

The student is run through its public stream with other sinks, windows, chunks and numbers of calls, and without part
of what its tracks give it; the teacher under a grid of guidance weights. All tracks are given. EPE counts where the
tracker can be trusted on the true clip, as in `evaluate motion`. Sizes are latents; the paper counts sinks and windows
in chunks of three.

`settings` are the tables, `teacher` opens a training run's teacher, `evaluation` measures, `plots` draws, `cli` is the
command.
"""
