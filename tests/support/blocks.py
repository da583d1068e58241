"""Blocks, drives and exact problems for tests of the multiply."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, Drive


def plain_drive(bits: int, signed: bool = False, digit_bits: int = 1, by_sign: bool = False) -> Drive:
    """Exact drivers whose digits are voltages 0, 1, 2, ...; bits 0: voltages as they are given."""
    if not bits:
        one = np.ones(1, np.float32)
        return Drive(0, True, 0, one, one[None], one[None])
    phases = -(-(bits - by_sign) // digit_bits)
    volts = np.tile(np.arange(2**digit_bits, dtype=np.float32), (phases, 1))
    weights = np.exp2(digit_bits * np.arange(phases)).astype(np.float32)
    top = bits - digit_bits * (phases - 1)
    if by_sign:
        volts = np.concatenate([volts, -volts], axis=1)
    elif signed:
        volts[-1] = np.where(volts[-1] >= 2 ** (top - 1), volts[-1] - 2**top, volts[-1])
    return Drive(bits, signed, digit_bits, weights, volts, volts**2, by_sign)


def block(
    weights: Any,
    converter: tuple[float, float, float] | None = None,
    *,
    rows: Any = None,
    out: Any = None,
    coefficient: Any = None,
    dtype: type = np.float32,
    **parts: Any,
) -> Block:
    """A block with plain values for what is not given."""
    w = np.ascontiguousarray(weights, dtype)
    cols = w.shape[1]
    return Block(
        np.arange(w.shape[0]) if rows is None else np.asarray(rows, np.int64),
        w,
        np.arange(cols) if out is None else np.asarray(out, np.int64),
        np.ones(cols, np.float32) if coefficient is None else np.asarray(coefficient, np.float32),
        None if converter is None else Converter.uniform(*converter, cols),
        **parts,
    )


def read_noise(variance: Any, floor: Any, key: int = 1) -> ReadNoise:
    """Noise with places 0, 1, 2, ..."""
    v, f = np.asarray(variance), np.asarray(floor, np.float32)
    return ReadNoise(v, f, np.uint64(key), np.arange(len(f), dtype=np.uint32))


@st.composite
def exact_problems(draw: st.DrawFn) -> dict[str, Any]:
    """Small integers, steps and standard deviations that are powers of two: every sum is exact in float32,
    ties included, but for the noise, which is added in one rounding."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples, n_in, n_out = draw(st.integers(0, 70)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    bits, signed = draw(st.sampled_from([0, 1, 2, 5, 8, 10, 16])), draw(st.booleans())
    signed = signed and bits > 1
    drive = plain_drive(
        bits, signed, draw(st.integers(1, max(1, min(bits, 4)))), signed and draw(st.booleans())
    )
    if bits:
        low, high = drive.code_range
        small = np.uint8 if high < 256 and low == 0 else np.int16 if high < 2**15 else np.int32
        codes: Any = rng.integers(low, high + 1, (samples, n_in)).astype(small)
    else:
        codes = rng.integers(-16, 17, (samples, n_in)).astype(np.float32) / 4
    if 0 < bits <= 2 and draw(st.booleans()):
        drive = drive.merged()
    noisy = draw(st.sampled_from(["none", "floor", "cells", "forms"]))
    convert, refer = draw(st.booleans()), draw(st.booleans())
    limits = draw(st.sampled_from([(-128.0, 127.0), (0.0, 15.0), (-4.0, 3.0)]))
    with_inl = draw(st.booleans())
    blocks = []
    for number in range(draw(st.integers(0, 3))):
        rows = np.sort(rng.choice(n_in, rng.integers(0, n_in + 1), replace=False))
        cols = int(rng.integers(0, 2 * n_out))
        converter = noise = reference = None
        if convert:
            step = rng.choice(np.float32([0.5, 2.0, 8.0]), cols)
            gain, offset = (
                rng.choice(np.float32([0.5, 1.0]), cols),
                rng.integers(-2, 3, cols).astype(np.float32),
            )
            inl = np.float32(rng.integers(-2, 3, 16 if limits[0] == 0 else 2) if with_inl else [])
            converter = Converter(step, *limits, gain, offset / 2, inl)
        if noisy != "none":
            variance = rng.choice(np.float32([0.0, 1.0, 4.0]), (len(rows), cols))
            floor = rng.choice(np.float32([0.0, 1.0, 4.0]), cols)
            parts = rng.integers(-1, 2, (cols, len(rows), 2)).astype(np.float32)
            forms = np.ascontiguousarray(parts @ parts.transpose(0, 2, 1))
            chosen = {"cells": variance, "forms": forms}.get(noisy, np.empty((0, cols), np.float32))
            noise = read_noise(chosen, floor, number)
        if refer and cols:
            reference = np.where(rng.random(cols) < 0.7, cols - 1, -1)
            reference[-1] = -1
        blocks.append(
            Block(
                rows,
                rng.integers(-8, 9, (len(rows), cols)).astype(np.float32),
                rng.integers(0, n_out, cols),
                rng.choice(np.float32([-4, -1, 1, 4]), cols),
                converter,
                noise,
                reference,
                bool(rng.random() < 0.5),
            )
        )
    return {"args": (codes, blocks, n_out), "drive": drive, "first": draw(st.integers(0, 2**40))}
