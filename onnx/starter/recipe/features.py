"""The front end: 16 kHz mono samples to the log-mel frames of Gemma 4 (128 bins, hop 160)."""

import numpy as np

RATE, FRAME, HOP, FFT, BINS, FLOOR = 16000, 320, 160, 512, 128, 1e-3


def _filters():
    f = np.linspace(0, RATE / 2, FFT // 2 + 1)
    top = 2595 * np.log10(1 + (RATE / 2) / 700)
    pts = 700 * (10 ** (np.linspace(0, top, BINS + 2) / 2595) - 1)
    up = (f[:, None] - pts[None, :-2]) / (pts[1:-1] - pts[:-2])
    down = (pts[None, 2:] - f[:, None]) / (pts[2:] - pts[1:-1])
    return np.maximum(0, np.minimum(up, down))


FILTERS = _filters().astype(np.float32)
WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)


def log_mel(samples):
    """`[T, 128]` f32 log-mel of f32 samples, T = (N - 1) // 160 frames; not normalised per bin."""
    x = np.concatenate([np.zeros(HOP, np.float32), np.asarray(samples, np.float32)])
    t = (len(x) - FRAME - 1) // HOP + 1
    if t <= 0:
        return np.zeros((0, BINS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME)[::HOP][:t] * WINDOW
    return np.log(np.abs(np.fft.rfft(frames, FFT)).astype(np.float32) @ FILTERS + FLOOR)


def tokens(frames):
    """Audio rows that `frames` mel frames give."""
    return -(-frames // 4)
