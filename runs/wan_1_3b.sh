#!/usr/bin/env bash
# Wan 2.1 1.3B at 832×480, from published weights to a live model: the paper's recipe. Killed at any moment, the same
# command goes on where it was; what is finished is passed over.
#
#   What you fetch yourself, and whose licences you accept:
#     WAN     Wan 2.1's folder for Diffusers: vae/ text_encoder/ tokenizer/ image_encoder/
#     SOURCE  weights to start from, such as VideoX-Fun's control variant of the 1.3B
#     CLIPS   first stage: a folder of videos of at least 81 frames at 16 a second, with captions (data encode --help)
#     OWN     from the second stage on: clips that Wan generated, in the same form (paper: 70 000); else CLIPS
#     DAVIS   a folder of clips to measure on, such as DAVIS/JPEGImages/480p (evaluate motion --help)
#
#   runs/wan_1_3b.sh                            on GPUS (8) GPUs of this machine; several machines: set LAUNCH
#   STAGES="causal self-forcing" runs/wan_1_3b.sh     those alone
#   motionstream train teacher -r wan_1_3b --dry-run --gpus 8 --accumulate 16     memory and days, before you rent them
set -euo pipefail
trap 'echo "stopped and saved; run it again to go on" >&2; exit 130' INT TERM
cd "$(dirname "$0")/.."

RECIPE=${RECIPE:-wan_1_3b}
SIZE=${SIZE:-832x480} FRAMES=${FRAMES:-81} FPS=${FPS:-16}
: "${WAN:?a folder, see above}" "${SOURCE:?weights, see above}" "${CLIPS:?a folder of videos, see above}"
PICTURES=${PICTURES-$WAN}                     # empty for networks that read no CLIP tokens
OUT=${OUT:-out/$RECIPE}
GPUS=${GPUS:-8}
STAGES=${STAGES:-teacher teacher-mask causal self-forcing}
TRACKER=${TRACKER:-cotracker3}                # the paper's; lucas-kanade needs nothing else
EXTRA=${EXTRA:-}                              # further options of data encode, such as --tracker-path co-tracker
MOTIONSTREAM=${MOTIONSTREAM:-.venv/bin/motionstream}
LAUNCH=${LAUNCH-.venv/bin/torchrun --standalone --nproc-per-node $GPUS --no-python}

# The paper's 128 and 64 clips a step, on 32 GPUs or fewer.
passes() { case $1 in self-forcing) echo $(((64 + GPUS - 1) / GPUS)) ;; *) echo $(((128 + GPUS - 1) / GPUS)) ;; esac; }
clips() { case $1 in teacher) echo "$OUT/clips" ;; *) echo "$OUT/${OWN:+own-}clips" ;; esac; }

encode() { # videos, prepared clips
  [ -f "$2/index.json" ] || "$MOTIONSTREAM" data encode --clips "$1" --out "$2" --vae "$WAN/vae" --text "$WAN" \
    ${PICTURES:+--pictures "$PICTURES"} --size "$SIZE" --frames "$FRAMES" --fps "$FPS" --tracker "$TRACKER" $EXTRA
}
train() {
  $LAUNCH "$MOTIONSTREAM" train "$1" --recipe "$RECIPE" --data "$(clips "$1")" --out "$OUT" \
    --accumulate "${ACCUMULATE:-$(passes "$1")}"
}

[ -f "$OUT/init/network.json" ] || "$MOTIONSTREAM" convert "$SOURCE" --to "$OUT/init" ${TRACKS:+--tracks "$TRACKS"}
encode "$CLIPS" "$OUT/clips"
[ -z "${OWN:-}" ] || encode "$OWN" "$OUT/own-clips"
for stage in $STAGES; do train "$stage"; done

STUDENT=${STAGES##* }
case $STUDENT in causal | self-forcing) ;; *) exit 0 ;; esac # a teacher is no model to stream with
[ -f "$OUT/model/model.json" ] || "$MOTIONSTREAM" zoo wan "$OUT/model" --runs "$OUT" --stage "$STUDENT" \
  --vae "$WAN/vae" --text "$WAN" ${PICTURES:+--picture "$PICTURES"} ${DECODER:+--decoder "$DECODER"} --size "$SIZE"

[ -z "${DAVIS:-}" ] || "$MOTIONSTREAM" evaluate motion --model "$OUT/model" --data "$DAVIS" --spread --json "$OUT/motion.json"
echo "serve it:  $MOTIONSTREAM serve --model $OUT/model"
