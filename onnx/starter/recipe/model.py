"""Gemma 4's audio tower and decoder in plain torch, written for training on a CPU.

The parameters carry the Hugging Face names, so that a state dict of `Starter` (plus the clip
bounds) loads into `Gemma4ForConditionalGeneration`; `parity.py` checks that both agree. What makes
it quicker: padding stands on the right only and everything is causal, so that the tower needs no
masks after the sub-sampling; the KV-shared layers compute the answer's rows alone.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from config import AUDIO, CLIP, TEXT


class RmsNorm(torch.autograd.Function):
    """x / rms(x) * w with few passes; a third of the time of the composed operations."""

    @staticmethod
    def forward(ctx, x, w):
        y = x.float()
        r = torch.rsqrt(torch.linalg.vecdot(y, y) / x.shape[-1] + 1e-6).unsqueeze(-1).to(x.dtype)
        n = x * r
        ctx.save_for_backward(n, r, w)
        return n * w

    @staticmethod
    def backward(ctx, g):
        n, r, w = ctx.saved_tensors
        gw = g * w
        dw = (g * n).reshape(-1, n.shape[-1]).sum(0) if ctx.needs_input_grad[1] else None
        m = torch.linalg.vecdot(gw, n).div_(n.shape[-1]).unsqueeze(-1)
        return (gw - n * m) * r, dw


class Norm(nn.Module):
    def __init__(self, dim, scale=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim)) if scale else None
        self.register_buffer("one", torch.ones(dim), persistent=False)

    def forward(self, x):
        return RmsNorm.apply(x, (self.one if self.weight is None else self.weight).to(x.dtype))


class Clipped(nn.Module):
    """A linear with clip bounds; they are wide, so training leaves the clamps out."""

    def __init__(self, i, o):
        super().__init__()
        self.linear = nn.Linear(i, o, bias=False)

    def forward(self, x):
        return self.linear(x)


class FeedForward(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.ffw_layer_1, self.ffw_layer_2 = Clipped(h, 4 * h), Clipped(4 * h, h)
        self.pre_layer_norm, self.post_layer_norm = Norm(h), Norm(h)

    def forward(self, x):
        y = self.ffw_layer_2(F.silu(self.ffw_layer_1(self.pre_layer_norm(x))))
        return x + AUDIO["residual_weight"] * self.post_layer_norm(y)


class AudioAttention(nn.Module):
    """Causal attention over 12 rows with a relative bias and a soft-cap, as one banded product."""

    def __init__(self, h, heads):
        super().__init__()
        self.heads, self.d = heads, h // heads
        self.q_proj, self.k_proj, self.v_proj, self.post = (Clipped(h, h) for _ in range(4))
        self.relative_k_proj = nn.Linear(h, h, bias=False)
        self.per_dim_scale = nn.Parameter(torch.zeros(self.d))
        n = h // 2
        inv = torch.exp(torch.arange(n) * -(math.log(10000.0) / max(n - 1, 1)))
        ang = torch.arange(11, -1, -1)[:, None] * inv  # distances 11 .. 0
        self.register_buffer("pos", torch.cat([ang.sin(), ang.cos()], -1), persistent=False)

    def forward(self, x):
        b, t, h = x.shape
        q, k, v = (p(x).view(b, t, self.heads, self.d).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q = q * (self.d ** -0.5 / math.log(2) * F.softplus(self.per_dim_scale))
        k = k * (math.log(1 + math.e) / math.log(2))
        r = self.relative_k_proj(self.pos).view(12, self.heads, self.d).permute(1, 2, 0)
        bd = q @ r  # [b, heads, t, 12]; column c is distance 11 - c
        # Row i of the banded view holds keys i-11 .. i; padding t + 1 columns and cutting the flat
        # array shifts each row by one.
        bd = F.pad(bd, (0, t)).flatten(2)[..., :t * (t + 11)].view(b, self.heads, t, t + 11)[..., 11:]
        s = torch.tanh((q @ k.transpose(-1, -2) + bd) / 50.0) * 50.0
        i = torch.arange(t, device=x.device)
        dist = i[:, None] - i[None]
        s = s.masked_fill((dist < 0) | (dist > 11), -1e9)
        y = torch.softmax(s, -1) @ v
        return self.post(y.transpose(1, 2).reshape(b, t, h))


class LightConv(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.linear_start, self.linear_end = Clipped(h, 2 * h), Clipped(h, h)
        self.depthwise_conv1d = nn.Conv1d(h, h, AUDIO["conv_kernel_size"], groups=h, bias=False)
        self.pre_layer_norm, self.conv_norm = Norm(h), Norm(h)

    def forward(self, x):
        y = F.glu(self.linear_start(self.pre_layer_norm(x)), -1)
        w = self.depthwise_conv1d.weight[:, 0]  # [h, 5]
        k, t = w.shape[1], y.shape[1]
        p = F.pad(y, (0, 0, k - 1, 0))
        y = sum(p[:, j:j + t] * w[:, j] for j in range(k))
        return x + self.linear_end(F.silu(self.conv_norm(y)))


class AudioLayer(nn.Module):
    def __init__(self, h, heads):
        super().__init__()
        self.feed_forward1, self.feed_forward2 = FeedForward(h), FeedForward(h)
        self.self_attn, self.lconv1d = AudioAttention(h, heads), LightConv(h)
        self.norm_pre_attn, self.norm_post_attn, self.norm_out = Norm(h), Norm(h), Norm(h)

    def forward(self, x):
        x = self.feed_forward1(x)
        x = x + self.norm_post_attn(self.self_attn(self.norm_pre_attn(x)))
        return self.norm_out(self.feed_forward2(self.lconv1d(x)))


class SubSample(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(o, eps=1e-6, bias=False)


class SubSampling(nn.Module):
    """Two strided convolutions. The first has one input channel and 128 outputs, each normalised
    over the channels: mean and variance of its outputs are a linear and a quadratic form of the
    3 x 3 patch, so the patch is normalised and the 128 channels are written only once."""

    def __init__(self, c, h):
        super().__init__()
        self.layer0, self.layer1 = SubSample(1, c[0]), SubSample(c[0], c[1])
        self.input_proj_linear = nn.Linear(c[0] // 4 * c[1], h, bias=False)

    def forward(self, mel, mask):
        b, t, _ = mel.shape
        p = F.pad(mel * mask[..., None], (1, 1, 1, 1)).unfold(1, 3, 2).unfold(2, 3, 2)
        p = p.reshape(b, (t + 1) // 2, -1, 9) * mask[:, ::2, None, None]
        with torch.autocast("cpu", enabled=False):
            w = self.layer0.conv.weight.view(-1, 9)
            w = w - w.mean(0)
            p = p * torch.rsqrt(((p @ (w.t() @ w / len(w))) * p).sum(-1, keepdim=True) + 1e-6)
            w = w * self.layer0.norm.weight[:, None]
        x = F.relu(F.linear(p, w), inplace=True).permute(0, 3, 1, 2)
        x = F.relu(self.layer1.norm(self.layer1.conv(x).permute(0, 2, 3, 1)))
        return self.input_proj_linear(x.flatten(2))


class AudioTower(nn.Module):
    def __init__(self):
        super().__init__()
        h = AUDIO["hidden_size"]
        self.subsample_conv_projection = SubSampling(AUDIO["subsampling_conv_channels"], h)
        self.layers = nn.ModuleList(AudioLayer(h, AUDIO["num_attention_heads"])
                                    for _ in range(AUDIO["num_hidden_layers"]))
        self.output_proj = nn.Linear(h, AUDIO["output_proj_dims"])

    def forward(self, mel, mask):
        """mel [B, T, 128], mask f32 [B, T] -> (rows before the output projection, rows after)."""
        x = self.subsample_conv_projection(mel, mask)
        for layer in self.layers:
            x = layer(x)
        return x, self.output_proj(x)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Attention(nn.Module):
    def __init__(self, i):
        super().__init__()
        self.full = TEXT["layer_types"][i] == "full_attention"
        self.shared = i >= TEXT["num_hidden_layers"] - TEXT["num_kv_shared_layers"]
        h, self.n, self.kv = TEXT["hidden_size"], TEXT["num_attention_heads"], TEXT["num_key_value_heads"]
        self.d = TEXT["global_head_dim"] if self.full else TEXT["head_dim"]
        self.q_proj = nn.Linear(h, self.n * self.d, bias=False)
        self.q_norm = Norm(self.d)
        if not self.shared:
            self.k_proj = nn.Linear(h, self.kv * self.d, bias=False)
            self.v_proj = nn.Linear(h, self.kv * self.d, bias=False)
            self.k_norm, self.v_norm = Norm(self.d), Norm(self.d, scale=False)
        self.o_proj = nn.Linear(self.n * self.d, h, bias=False)

    def forward(self, x, rope, mask, kv):
        b, s, _ = x.shape
        cos, sin = rope
        q = rotate(self.q_norm(self.q_proj(x).view(b, s, self.n, self.d)), cos, sin).transpose(1, 2)
        if not self.shared:
            k = rotate(self.k_norm(self.k_proj(x).view(b, s, self.kv, self.d)), cos, sin).transpose(1, 2)
            v = self.v_norm(self.v_proj(x).view(b, s, self.kv, self.d)).transpose(1, 2)
            kv[self.full] = (k, v)
        k, v = kv[self.full]
        # Heads that share keys stand together as more rows of one product; sums in f32.
        r = self.n // self.kv
        with torch.autocast("cpu", enabled=False):
            w = (q.reshape(b, self.kv, r * s, self.d).float() @ k.float().transpose(-1, -2)).view(b, self.n, s, -1)
            w = torch.softmax(w.masked_fill(~mask[self.full], -1e9), -1).to(v.dtype)
        y = (w.view(b, self.kv, r * s, -1) @ v).view(b, self.n, s, self.d)
        return self.o_proj(y.transpose(1, 2).reshape(b, s, -1))


class Mlp(nn.Module):
    def __init__(self, h, i):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(h, i, bias=False), nn.Linear(h, i, bias=False)
        self.down_proj = nn.Linear(i, h, bias=False)

    def forward(self, x):
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, i):
        super().__init__()
        h, p = TEXT["hidden_size"], TEXT["hidden_size_per_layer_input"]
        self.self_attn, self.mlp = Attention(i), Mlp(h, TEXT["intermediate_size"])
        self.input_layernorm, self.post_attention_layernorm = Norm(h), Norm(h)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = Norm(h), Norm(h)
        self.per_layer_input_gate = nn.Linear(h, p, bias=False)
        self.per_layer_projection = nn.Linear(p, h, bias=False)
        self.post_per_layer_input_norm = Norm(h)
        self.register_buffer("layer_scalar", torch.ones(1))

    def forward(self, x, ple, rope, mask, kv):
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), rope, mask, kv))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        y = F.gelu(self.per_layer_input_gate(x), approximate="tanh") * ple
        return x + self.post_per_layer_input_norm(self.per_layer_projection(y))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        h, n, p = (TEXT[k] for k in ("hidden_size", "num_hidden_layers", "hidden_size_per_layer_input"))
        self.embed_tokens = nn.Embedding(TEXT["vocab_size"], h)
        self.embed_tokens_per_layer = nn.Embedding(TEXT["vocab_size"], n * p)
        nn.init.normal_(self.embed_tokens.weight, std=h ** -0.5)
        nn.init.normal_(self.embed_tokens_per_layer.weight, std=p ** -0.5)
        self.per_layer_model_projection = nn.Linear(h, n * p, bias=False)
        self.per_layer_projection_norm = Norm(p)
        self.layers = nn.ModuleList(Layer(i) for i in range(n))
        self.norm = Norm(h)
        for full, d, base, part in ((False, TEXT["head_dim"], 1e4, 1.0),
                                    (True, TEXT["global_head_dim"], 1e6, 0.25)):
            inv = base ** (-torch.arange(0, d, 2) / d)
            inv[int(part * d / 2):] = 0
            ang = torch.outer(torch.arange(1024), torch.cat([inv, inv]))
            self.register_buffer(f"cos{int(full)}", ang.cos(), persistent=False)
            self.register_buffer(f"sin{int(full)}", ang.sin(), persistent=False)

    def per_layer(self, emb, ids):
        """[B, S, L, P] per-layer rows; `ids` has pad where audio stands."""
        n, p = TEXT["num_hidden_layers"], TEXT["hidden_size_per_layer_input"]
        h = TEXT["hidden_size"]
        ctx = self.per_layer_projection_norm(
            (self.per_layer_model_projection(emb) * h ** -0.5).unflatten(-1, (n, p)))
        tok = self.embed_tokens_per_layer(ids).unflatten(-1, (n, p)) * p ** 0.5
        return (ctx + tok) * 2 ** -0.5

    def forward(self, emb, ids, rows):
        """emb [B, S, H], ids [B, S], rows [B, A] (positions that get logits) -> [B, A, V]."""
        b, s, h = emb.shape
        ple = self.per_layer(emb, ids)
        i = torch.arange(s, device=emb.device)
        causal = i[:, None] >= i[None]
        mask = {True: causal, False: causal & (i[:, None] - i[None] < TEXT["sliding_window"])}
        rope = {f: (getattr(self, f"cos{int(f)}")[:s, None], getattr(self, f"sin{int(f)}")[:s, None])
                for f in (True, False)}
        x, kv = emb, {}
        own = TEXT["num_hidden_layers"] - TEXT["num_kv_shared_layers"]
        for j, layer in enumerate(self.layers):
            if j == own:
                x = x.gather(1, rows[..., None].expand(-1, -1, h))
                ple = ple.gather(1, rows[..., None, None].expand(-1, -1, *ple.shape[2:]))
                rope = {f: (getattr(self, f"cos{int(f)}")[rows][:, :, None],
                            getattr(self, f"sin{int(f)}")[rows][:, :, None]) for f in (True, False)}
                mask = {f: m[rows][:, None] for f, m in mask.items()}
            full = layer.self_attn.full
            x = layer(x, ple[:, :, j], rope[full], mask, kv)
        x = self.norm(x) @ self.embed_tokens.weight.t()
        return torch.tanh(x / 30.0) * 30.0


class Embedder(nn.Module):
    def __init__(self, i, h):
        super().__init__()
        self.embedding_projection = nn.Linear(i, h, bias=False)

    def forward(self, x):
        return self.embedding_projection(F.rms_norm(x, (x.shape[-1],), None, 1e-6))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.language_model, self.audio_tower = Decoder(), AudioTower()
        self.embed_audio = Embedder(AUDIO["output_proj_dims"], TEXT["hidden_size"])


class Starter(nn.Module):
    """The model and, for training only, CTC heads on the audio tower: characters and words."""

    def __init__(self, chars, words=0):
        super().__init__()
        self.model = Inner()
        self.ctc = nn.Linear(AUDIO["hidden_size"], chars)
        if words:
            self.words = nn.Linear(AUDIO["hidden_size"], words)

    def audio(self, mel, mask):
        """-> (character CTC logits [B, n, chars], audio rows in text width [B, n, H])."""
        h, o = self.model.audio_tower(mel, mask)
        self.top = h
        return self.ctc(h), self.model.embed_audio(o)

    def decode(self, audio, ids, where, rows):
        """ids [B, S] with pad at audio places; where [B, S] index of the audio row or -1."""
        lm = self.model.language_model
        emb = lm.embed_tokens(ids) * TEXT["hidden_size"] ** 0.5
        got = audio.gather(1, where.clamp(min=0)[..., None].expand(-1, -1, emb.shape[-1]))
        return lm(torch.where(where[..., None] >= 0, got, emb), ids, rows)


def hf_state(starter):
    """State dict under the Hugging Face names, clip bounds included, CTC head left out."""
    out = {k: v.detach().contiguous() for k, v in starter.state_dict().items() if k.startswith("model.")}
    for k in list(out):
        if k.startswith("model.audio_tower") and k.endswith(".linear.weight"):
            base = k[:-len("linear.weight")]
            for name, v in (("input_min", -CLIP), ("input_max", CLIP), ("output_min", -CLIP),
                            ("output_max", CLIP)):
                out[base + name] = torch.tensor(v)
    return out
