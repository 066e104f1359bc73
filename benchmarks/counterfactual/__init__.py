"""Is it control, or luck? The same picture and prompt with other tracks than the true ones.

A model may score well on true tracks because it guesses what a picture will do. So every clip is played again with
its movement mirrored, turned by a right angle, delayed, taken from another clip, or stopped, and what the video did
is held against the tracks given and against the true ones, which were not given. A model that follows is near the
first and far from the second; one that ignores its tracks is as far from both.

Three controls: dense (all points of frame 0), object (a grid on the object that moves most), hand (a small rigid
grid on that object, as a drag makes it).

There is no true video of a movement that did not happen, so the tracker is tried out on the first frame warped by the
tracks given: only those places count where it is within 1.5 px of them there. What the warp cannot show (things that
cross, ground that is uncovered) is thereby left out, and the warp's own error is small by that choice: it shows what
the tracker can see, and is no rival of the model here. That choice favours a model that is itself built on such a warp
(`tiny/warp.py`): it fails where the warp fails, and that is not counted. So every figure stands beside
the same over all visible places (`…_all`), where the tracker's own failures count against the model. The truth is
between the two; where they are far apart, `counted_share` is small and the headline says little.

`tasks` is what is controlled and what is given, `measure` the figures of one clip, `evaluation` those of all, `release`
how released points leave a live stream, `cli` the command.

Legend: F frames, N points given, M other points.
"""
