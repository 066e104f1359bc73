#!/usr/bin/env bash
# The embedded model, from pictures to a model folder, on two CPU cores.
#
#   runs/tiny_cpu.sh                        until done; Ctrl-C saves, and the same command goes on where it was
#   timeout 2h runs/tiny_cpu.sh             a session of two hours
#   RECIPE=smoke OUT=out/try runs/tiny_cpu.sh    the whole chain in a minute, to see that it runs
#   TEACHER=1 runs/tiny_cpu.sh              the paper's way to the student: a teacher, made causal, distilled; then the
#                                           same rollouts. Hours longer; its latents are no closer to the true ones (docs/log.md)
#
# Losses and sample sheets: tensorboard --logdir $OUT, or $OUT/<stage>/metrics.jsonl and sheets/.
set -euo pipefail
trap 'echo "stopped and saved; run it again to go on" >&2; exit 130' INT TERM
cd "$(dirname "$0")/.."

RECIPE=${RECIPE:-tiny_cpu}
ASSETS=${ASSETS:-assets}        # a folder with cutouts/ and backgrounds/, or with manifest.csv
OUT=${OUT:-out/$RECIPE}
LPIPS=${LPIPS:-}                # weights of LPIPS, .safetensors: without them the decoder stays smoother
MOTIONSTREAM=${MOTIONSTREAM:-.venv/bin/motionstream}
SHARPER=(--set lpips_weight=0)
if [ -n "$LPIPS" ]; then SHARPER=(--lpips "$LPIPS"); fi

train() { "$MOTIONSTREAM" train "$1" --recipe "$RECIPE" --assets "$ASSETS" --out "$OUT" "${@:2}"; }

STUDENT=
train vae              # pixels ↔ latents
if [ -n "${TEACHER:-}" ]; then
  train teacher          # flow matching with tracks, prompt and picture
  train teacher-mask     # the same with middle frames masked
  train causal           # sees only the past, in few steps
  train self-forcing     # on its own outputs, scored by the teacher
  STUDENT=self-forcing
fi
train rollout --set "causal=$STUDENT"    # on its own outputs, trained on the true clips: what lies behind things that move
train vae-decoder "${SHARPER[@]}"    # the same latents, shown more sharply
train detail           # the picture's own texture, where the student's frames agree with it
train prompt-filter    # what the prompt's words do to colours: light, weather, film

"$MOTIONSTREAM" zoo pack --runs "$OUT" --stage detail --out "$OUT/model" --name "$RECIPE"
