"""Annotate folders of pictures with SAM: the data engine of arXiv 2304.02643, section 4, resumable at any moment."""

from saccade.runtime.annotation.convert import convert as convert
from saccade.runtime.annotation.run import Run as Run
from saccade.runtime.annotation.run import annotate as annotate
