#!/usr/bin/env bash
# One GPU, some fifteen minutes, no network: every figure of speed that needs one, into RESULTS as gpu_*.json.
# Random weights of the published sizes. Stages that fail or run out of time are named; the rest is written.
#
#   runs/bench_gpu.sh       PYTHON and RESULTS as below; CONFIGS: published sizes; REHEARSE=1: the same way on any machine
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
RESULTS=${RESULTS:-docs/results}
CONFIGS=${CONFIGS:-wan2.1-1.3b,wan2.2-5b}
OPTIONS=(--config "$CONFIGS" --json-folder "$RESULTS")
[ -z "${REHEARSE:-}" ] || OPTIONS+=(--rehearse --device cpu)

# What is expected, written down before anything is measured.
"$PYTHON" -m benchmarks predict --results "$RESULTS" --json "$RESULTS/gpu_predicted.json"

# Kernels against their plain forms.
"$PYTHON" -m pytest -q tests/fast/test_kernels.py

# A step, its parts, memory and share of the ceiling; checks; fp8; Diffusers and torch.compile in paired rounds.
"$PYTHON" -m benchmarks speed gpu "${OPTIONS[@]}"

# The same predictions beside what was measured.
"$PYTHON" -m benchmarks predict --results "$RESULTS" --json "$RESULTS/gpu_predicted.json" --markdown "$RESULTS/gpu_predicted.md"
