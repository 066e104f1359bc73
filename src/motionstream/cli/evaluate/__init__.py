"""`motionstream evaluate …`: how well a model follows its tracks, camera and prompt. One file for each command."""

import typer

from motionstream.cli.evaluate import camera, long, motion, text

app = typer.Typer(no_args_is_help=True, help="How well a model follows its tracks, camera and prompt.")
app.command("motion")(motion.evaluate_motion_command)
app.command("long")(long.evaluate_long_command)
app.command("camera")(camera.evaluate_camera_command)
app.command("text")(text.evaluate_text_command)
