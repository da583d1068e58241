"""Time from the start of a fresh Python to the first result, with numba's cache warm."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from timing import record

PROGRAM = """
import dataclasses

import numpy as np

from xbar import load_device
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, drive
from xbar.hardware.files import load_hardware
from xbar.multiply.mvm import mvm
from xbar.conductances.programming import program
from xbar.conductances.rng import stream_key

side = np.arange(128)
target = np.full((128, 128), 1e-5)
names = dict(seed=0, chip=0, layer="a", plane=0, slice_=0)
g = program(target, load_device("pcm-90nm"), side, side, **names).g / np.float32(1e-6)
noise = ReadNoise((0.02 * g) ** 2, np.zeros(128, np.float32), stream_key("read"), side.astype(np.uint32))
adc = Converter.uniform(1.0, -128, 127, 128)
columns = [Block(side, g, side, np.ones(128, np.float32), adc, noise)]
codes = np.ones((8, 128), np.uint8)
print(mvm(codes, columns, 128, drive=drive(load_hardware("admm-32x32"), False)).sum())
"""


def rows(repeats: int = 5) -> list[dict[str, Any]]:
    """Program a tile and multiply by it, against the imports of numpy and numba alone."""

    def run(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    return [
        record(
            "first use after a fresh start: program a 128 x 128 tile, multiply with noise and ADC",
            lambda: run(PROGRAM),
            "a start of Python that imports numpy and numba",
            lambda: run("import numpy, numba"),
            threads=1,
            repeats=repeats,
        )
    ]
