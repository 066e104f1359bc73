#!/usr/bin/env bash
# Wan 2.2 5B at 1280×704: as runs/wan_1_3b.sh, which says what WAN (Wan 2.2's folder here), SOURCE, CLIPS and OWN are.
# Clips have at least 121 frames at 24 a second; the network reads no CLIP tokens.
#
#   runs/wan_5b.sh
#   motionstream train self-forcing -r wan_5b --dry-run --gpus 32     memory and days, before you rent them
set -euo pipefail
cd "$(dirname "$0")/.."

export RECIPE=${RECIPE:-wan_5b} SIZE=${SIZE:-1280x704} FRAMES=${FRAMES:-121} FPS=${FPS:-24} PICTURES=${PICTURES-}
exec runs/wan_1_3b.sh
