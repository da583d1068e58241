"""Draws by operators of torch against the generator, on tensors of the processor."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, strategies as st

from xbar.conductances.draws import as_signed, normal_draws, polar_draws, row_keys, uniform_words, word_of
from xbar.conductances.generator import mixed_places
from xbar.conductances.rng import normals, stream_key, uniforms
from xbar.multiply.reference import polar_draws as reference_draws


@given(st.integers(0, 2**63), st.integers(0, 2**50), st.integers(0, 2**31), st.floats(0, 1))
def test_draws_have_the_bits_of_the_generator(key: int, row: int, place: int, p: float) -> None:
    keys = [np.uint64(key), stream_key("another", key)]
    rows, places = row + np.arange(4), np.stack([place + np.arange(7), 2 * np.arange(7)])
    mixed = torch.from_numpy(np.stack([mixed_places(line) for line in places]).view(np.int32))[:, None]
    of_rows = row_keys(as_signed(keys)[:, None], torch.from_numpy(rows))[..., None]
    square, sine = polar_draws(of_rows, mixed)
    normal, word = normal_draws(of_rows, mixed), uniform_words(of_rows, mixed)
    for i, each in enumerate(keys):
        expected = reference_draws(each, rows.astype(np.uint64), places[i])
        np.testing.assert_array_equal(square[i], expected[0])
        np.testing.assert_array_equal(sine[i], expected[1])
        np.testing.assert_allclose(normal[i], normals(each, rows, places[i]), rtol=3e-7)
        uniform = uniforms(each, rows, places[i])
        np.testing.assert_array_equal(word[i], uniform * 2**32)
        for bound in (p, float(uniform[0, 0])):
            np.testing.assert_array_equal(word[i] < word_of(bound), uniform < bound)
