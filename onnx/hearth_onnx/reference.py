"""The reference: ``Gemma4ForConditionalGeneration`` of transformers with our weights.

Needs torch; never imported while building.
"""

import numpy as np
import torch
from transformers import DynamicCache, Gemma4Config, Gemma4ForConditionalGeneration
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

from .config import Config
from .precision import Precision
from .quantize import dequantize_rows, quantize_rows
from .weights import WeightSource


def rounded(values: np.ndarray, name: str, precision: Precision) -> np.ndarray:
    """What the graph stores in place of ``values``: matrices and tables lose bits, the folded
    relative keys and everything not two-dimensional do not."""
    if not precision.quantized or values.ndim != 2 or "relative_k_proj" in name:
        return values
    codes, scales = quantize_rows(values, precision.bits, precision.block)
    return dequantize_rows(codes, scales, precision.bits, values.shape[1])


class Reference:
    """transformers' model in f32, eager attention, weights from ``source``."""

    def __init__(self, config: Config, source: WeightSource, precision: Precision = Precision()):
        hf = Gemma4Config(**config.raw)
        hf._attn_implementation = "eager"
        with torch.device("meta"):
            names = {k: tuple(v.shape) for k, v in Gemma4ForConditionalGeneration(hf).state_dict().items()}
        self.model = Gemma4ForConditionalGeneration(hf).eval().float()
        state = {
            name: torch.from_numpy(rounded(source.tensor(name, shape), name, precision).copy())
            for name, shape in names.items()
            if name != "lm_head.weight"
        }
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        self.model.tie_weights()
        head, table = self.model.lm_head.weight, self.model.model.language_model.embed_tokens.weight
        assert head.data_ptr() == table.data_ptr(), "the head is not tied"
        self.names = set(state)

    @torch.no_grad()
    def encode(self, mel: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Audio rows ``[n,H]`` of ``[T,mel]`` and ``[T]``, padding dropped."""
        out = self.model.model.get_audio_features(
            torch.from_numpy(mel[None]), torch.from_numpy(mask[None])
        )
        return out.pooler_output[out.attention_mask].numpy()

    @torch.no_grad()
    def prefill(self, ids: list[int], mel: np.ndarray | None, mask: np.ndarray | None):
        """All logits of a prompt ``[S,V]`` and the cache, which keeps every row."""
        cache = DynamicCache()
        audio = {}
        if mel is not None:
            audio = {
                "input_features": torch.from_numpy(mel[None]),
                "input_features_mask": torch.from_numpy(mask[None]),
            }
        out = self.model(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            past_key_values=cache,
            use_cache=True,
            **audio,
        )
        return out.logits[0].numpy(), cache

    @torch.no_grad()
    def generate(self, ids: list[int], mel, mask, count: int):
        """Greedy: ``(new ids, logits [count,V], cache as {name: [1,kv,T,d]})``; the last id has
        not been fed, as in :meth:`runner.Folder.generate`."""
        logits, cache = self.prefill(ids, mel, mask)
        new, rows, total = [], [logits[-1]], len(ids)
        new.append(int(rows[-1].argmax()))
        while len(new) < count:
            total += 1
            out = self.model(
                input_ids=torch.tensor([[new[-1]]]),
                attention_mask=torch.ones(1, total, dtype=torch.long),
                past_key_values=cache,
                use_cache=True,
            )
            rows.append(out.logits[0, -1].numpy())
            new.append(int(rows[-1].argmax()))
        kv = {}
        for index, layer in enumerate(cache.layers):
            kv[f"past_key_values.{index}.key"] = layer.keys.numpy()
            kv[f"past_key_values.{index}.value"] = layer.values.numpy()
        return new, np.stack(rows), kv


def features(samples: np.ndarray, **settings) -> tuple[np.ndarray, np.ndarray]:
    """transformers' own log-mel features of f32 samples: ``[T,128]`` and the mask ``[T]``."""
    extractor = Gemma4AudioFeatureExtractor(**settings)
    out = extractor([samples], return_tensors="np")
    return out["input_features"][0], out["input_features_mask"][0]
