"""The program `python -m benchmarks`: what only developers and checkers of the paper's claims run.

A measurement with several commands is a folder whose `cli.py` has an `app`; it joins with one line at `add_typer`.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from benchmarks import contribution, external, limits, tracker, vae
from benchmarks.ablation import cli as ablation
from benchmarks.counterfactual import cli as counterfactual
from benchmarks.llff import cli as llff
from benchmarks.report import cli as report
from benchmarks.speed import predict
from benchmarks.speed.cli import app as speed
from motionstream import cli

app = cli.new_program(
    "Check the claims: how well a model does what it should, part by part, and what that costs.",
    "What users measure is installed: motionstream evaluate --help, motionstream bench --help. "
    "Start with: python -m benchmarks contribution     All figures as documents: make figures",
)
app.command("contribution")(contribution.contribution_command)
app.command("counterfactual")(counterfactual.counterfactual_command)
app.command("ablation")(ablation.ablation_command)
app.command("limits")(limits.limits_command)
app.command("vae")(vae.vae_command)
app.command("tracker")(tracker.tracker_command)
app.command("external")(external.external_command)
app.command("llff")(llff.llff_command)
app.command("predict")(predict.predict_command)
app.add_typer(speed, name="speed")
app.command("report")(report.report_command)
app.command("figures")(report.figures_command)


@app.callback()
def program(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    if debug:
        os.environ["MOTIONSTREAM_DEBUG"] = "1"


if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:], app, "python -m benchmarks"))
