"""Time of programming with all effects but wires, against as many normal draws of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from timing import record

from xbar import load_device
from xbar.conductances.programming import program_states
from xbar.hardware.aging import Relaxation
from xbar.hardware.device import Device

TILES, SIZE = 1000, 128
TIME = 86400.0


def devices() -> dict[str, Device]:
    """PCM as published, and with a relaxation and stuck cells besides."""
    import dataclasses

    pcm = load_device("pcm-90nm")
    everything = dataclasses.replace(
        pcm, relaxation=Relaxation(-1e-8, 1e-9, 1e-8), p_stuck_g_max=0.001, p_stuck_g_min=0.001
    )
    return {"write, drift, 1/f noise": pcm, "and relaxation, stuck cells": everything}


def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """One record a device: 1,000 tiles of 128 x 128 cells."""
    index = np.arange(SIZE)
    generator = np.random.default_rng(0)
    records = []
    for name, device in devices().items():
        values = device.conductances()
        states = generator.integers(0, len(values), (SIZE, SIZE)).astype(np.int32)

        def call(device: Device = device, states: Any = states, values: Any = values) -> None:
            for tile in range(TILES):
                program_states(states, values, device, index, index, (0, tile, "tile", 0, 0), TIME)

        records.append(
            record(
                f"programming {TILES} tiles of {SIZE} x {SIZE}: {name}",
                call,
                "numpy normal draws of the same count (float64)",
                lambda: [generator.standard_normal((SIZE, SIZE)) for _ in range(TILES)],
                threads=1,
                repeats=repeats,
            )
        )
    return records
