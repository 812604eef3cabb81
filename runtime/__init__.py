"""saccade.runtime: bundle → engine → pipeline → result. Imports no torch, no triton, no web stack."""

if not __name__.startswith("saccade."):
    raise ImportError(f"{__name__!r} is a folder of saccade: write 'from saccade.runtime import …'")
