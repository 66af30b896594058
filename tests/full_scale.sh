#!/usr/bin/env bash
# The whole path at paper scale on this machine: files of full size with made-up weights, 1024 px.
# Prints seconds and peak memory of every stage. Needs 8 GB of disk and 12 GiB of memory.
#
#   tests/full_scale.sh [DIR]     (default: runs/full-scale, which git ignores)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-runs/full-scale}
files=$folder/files
bin=.venv/bin
table=$folder/stages.jsonl
mkdir -p "$folder"
rm -rf "$table" "$folder/codes" "$folder/run" "$folder/repository" "$folder/edited.png"
stage() { "$bin/python" tests/full_scale/stage.py "$table" "$@"; }

stage "make files" "$bin/python" tests/full_scale/make_files.py "$files"
for file in psp_ffhq_encode.pt stylegan2-ffhq-config-f.pt vgg16-397923af.pth vgg_face_dag.pth; do
    stage "inspect $file" "$bin/wstar-train" inspect "$files/$file"
done
stage "encode 24 pictures" "$bin/wstar-train" codes \
    --encoder "$files/psp_ffhq_encode.pt" --pictures "$files/CelebA-HQ-img" \
    --output "$folder/codes" --batch 4
stage "train T, three losses" "$bin/wstar-train" flow --run "$folder/run" \
    --codes "$folder/codes" --pictures "$files/CelebA-HQ-img" \
    --attributes "$files/CelebAMask-HQ-attribute-anno.txt" \
    --encoder "$files/psp_ffhq_encode.pt" --generator "$files/stylegan2-ffhq-config-f.pt" \
    --judge "$files/vgg16-397923af.pth" --identity "$files/vgg_face_dag.pth" \
    --steps 4 --id-steps 4 --batch 2 --identity-batch 1
stage "export" "$bin/wstar-export" repository --run "$folder/run" --output "$folder/repository"
stage "serve and edit one picture" "$bin/python" tests/full_scale/serve_and_edit.py \
    "$folder/repository" "$files/CelebA-HQ-img/0.jpg" "$folder/edited.png"

"$bin/python" - "$table" <<'PRINT'
import json
import sys

print("| stage | seconds | peak memory, MiB |\n|---|---|---|")
for line in map(json.loads, open(sys.argv[1])):
    print(f"| {line['stage']} | {line['seconds']} | {line['peak_mib']} |")
PRINT
