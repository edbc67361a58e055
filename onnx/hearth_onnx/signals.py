"""Test signals that another language can make again: sums of sines and noise of a linear
congruential generator.

Sample ``i`` (16 kHz) is, in f64 and then rounded to f32,
``sum(amplitude * sin(2 pi frequency i / 16000)) + noise * u_i`` where the generator runs
``state = state * 1664525 + 1013904223 mod 2^32`` from ``state = seed`` (one step before each
sample) and ``u = floor(state / 256) / 2^23 - 1``. ``gate_samples`` > 0 silences every second
stretch of that many samples (both parts), so that the signal changes over time.
"""

import numpy as np

RATE_HZ = 16000


def make(samples: int, sines=(), noise: float = 0.0, seed: int = 1, gate_samples: int = 0):
    """The signal as f32 ``[samples]``; ``sines`` are pairs (frequency in Hz, amplitude)."""
    index = np.arange(samples, dtype=np.float64)
    signal = np.zeros(samples)
    for frequency_hz, amplitude in sines:
        signal += amplitude * np.sin(2 * np.pi * frequency_hz * index / RATE_HZ)
    if noise:
        state, values = seed, np.empty(samples)
        for i in range(samples):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            values[i] = (state >> 8) / (1 << 23) - 1
        signal += noise * values
    if gate_samples:
        signal[(np.arange(samples) // gate_samples) % 2 == 1] = 0.0
    return signal.astype(np.float32)
