"""Pipelines: one file an algorithm. A method is a generator of engine calls; it holds no mutable state."""
