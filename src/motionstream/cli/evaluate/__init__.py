"""`motionstream evaluate …`: how well a model follows its tracks, camera and prompt. One file for each command."""

import typer

from motionstream.cli.evaluate import ablate, camera, counterfactual, limits, long, motion, report, text, tracker, vae

app = typer.Typer(no_args_is_help=True, help="How well a model follows its tracks, camera and prompt.")
app.command("motion")(motion.evaluate_motion_command)
app.command("limits")(limits.evaluate_limits_command)
app.command("vae")(vae.evaluate_vae_command)
app.command("long")(long.evaluate_long_command)
app.command("ablate")(ablate.evaluate_ablate_command)
app.command("tracker")(tracker.evaluate_tracker_command)
app.command("camera")(camera.evaluate_camera_command)
app.command("counterfactual")(counterfactual.evaluate_counterfactual_command)
app.command("text")(text.evaluate_text_command)
app.command("report")(report.evaluate_report_command)
