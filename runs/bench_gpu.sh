#!/usr/bin/env bash
# One GPU, some ten minutes, no network: every figure of speed that needs one, into RESULTS as gpu_*.json.
# Random weights of the published sizes. Stages that fail or run out of time are named; the rest is written.
#
#   runs/bench_gpu.sh       MOTIONSTREAM, PYTHON and RESULTS as below; SELF_FORCING: your checkout of it, if it is to take turns;
#                           CONFIGS: published sizes; REHEARSE=1: the same way on any machine, in under a minute
set -euo pipefail
cd "$(dirname "$0")/.."

MOTIONSTREAM=${MOTIONSTREAM:-.venv/bin/motionstream}
PYTHON=${PYTHON:-.venv/bin/python}
RESULTS=${RESULTS:-docs/results}
CONFIGS=${CONFIGS:-wan2.1-1.3b,wan2.2-5b}
OPTIONS=(--config "$CONFIGS" --json-folder "$RESULTS")
[ -z "${SELF_FORCING:-}" ] || OPTIONS+=(--self-forcing "$SELF_FORCING")
[ -z "${REHEARSE:-}" ] || OPTIONS+=(--rehearse --device cpu)

# What is expected, written down before anything is measured.
"$PYTHON" -m benchmarks.speed.predict --results "$RESULTS" --json "$RESULTS/gpu_predicted.json"

# A step, its parts, memory and share of the ceiling; kernels against plain forms; fp8; others' models in turns.
"$MOTIONSTREAM" bench gpu "${OPTIONS[@]}"

# The same predictions beside what was measured.
"$PYTHON" -m benchmarks.speed.predict --results "$RESULTS" --json "$RESULTS/gpu_predicted.json" --markdown "$RESULTS/gpu_predicted.md"
