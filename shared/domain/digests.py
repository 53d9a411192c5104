"""Stable digests and hashes: the same inputs give the same ids on every machine and in every version."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]


def digest(value: Any, *, length: int = 16) -> str:
    """The first `length` hex digits of SHA-256 over the canonical JSON of `value` (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def mix(values: UInt64) -> UInt64:
    """One round of SplitMix64 (Steele, Lea and Flood, 2014): uint64[n] -> uint64[n], a bijection that scatters bits."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def seed_of(*parts: int | str) -> np.uint64:
    """A 64-bit seed from any mix of integers and words."""
    return np.uint64(int(digest(list(parts)), 16))


def scatter(seed: np.uint64, values: npt.NDArray[Any]) -> UInt64:
    """A 64-bit hash of each integer in `values` (any integer dtype, shape [n]) under `seed`: uint64[n]."""
    return mix(mix(values.astype(np.int64).view(np.uint64)) ^ seed)


def fractions(hashes: UInt64) -> npt.NDArray[np.float64]:
    """Hashes as numbers in [0, 1), uniform: float64 of the same shape (the upper 53 bits)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
