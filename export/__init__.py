"""saccade.export: trained checkpoint → graphs → variants, each measured → bundle. Needs torch; running does not."""

if not __name__.startswith("saccade."):
    raise ImportError(f"{__name__!r} is a folder of saccade: write 'from saccade.export import …'")

from saccade.export.recipe import Labelled
from saccade.export.to_bundle import export

__all__ = ["Labelled", "export"]
