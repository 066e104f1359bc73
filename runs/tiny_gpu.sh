#!/usr/bin/env bash
# The embedded model on one GPU in under an hour: every stage gets its minutes, and its learning rate falls with them.
# Stopped or killed, the same command goes on where it was; stages that are finished are passed over.
#
#   runs/tiny_gpu.sh        ASSETS, OUT, RECIPE, LPIPS, TEACHER and MOTIONSTREAM as in tiny_cpu.sh
#   torchrun --nproc-per-node 8 --no-python …    works in place of "$MOTIONSTREAM" for several GPUs
set -euo pipefail
trap 'echo "stopped and saved; run it again to go on" >&2; exit 130' INT TERM
cd "$(dirname "$0")/.."

RECIPE=${RECIPE:-tiny_gpu}
ASSETS=${ASSETS:-assets}
OUT=${OUT:-out/$RECIPE}
LPIPS=${LPIPS:-}
SHARPER=(--set lpips_weight=0)
if [ -n "$LPIPS" ]; then SHARPER=(--lpips "$LPIPS"); fi
MOTIONSTREAM=${MOTIONSTREAM:-.venv/bin/motionstream}

train() {
  "$MOTIONSTREAM" train "$1" --recipe "$RECIPE" --assets "$ASSETS" --out "$OUT" --minutes "$2" --finish "${@:3}"
}

train vae 8
if [ -n "${TEACHER:-}" ]; then
  train teacher 12
  train teacher-mask 6
  train causal 4
  train self-forcing 4
  train rollout 8 --set causal=self-forcing
else
  train rollout 32
fi
train vae-decoder 5 "${SHARPER[@]}"
train detail 4
train prompt-filter 6

"$MOTIONSTREAM" zoo pack --runs "$OUT" --stage detail --out "$OUT/model" --name "$RECIPE"
