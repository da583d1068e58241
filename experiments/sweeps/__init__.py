"""Sweeps: many studies that differ in a few keys, their store, and what is read from it."""
