"""SAM 2.1 on pictures (arXiv 2408.00714): SAM's two graphs, with two finer maps beside the embedding.

    pixels (B, 3, S, S) ──▶ encoder ──▶ embedding (B, C, h, w), fine0 (B, C/8, 4h, 4w), fine1 (B, C/4, 2h, 2w)

This reads transformers' Sam2Model, whose Hiera backbone exports as it is. Its memory is for video; without one, the
"no memory" embedding is added to the picture's, as the reference does.
"""

from __future__ import annotations

from typing import Any

from saccade.export.load import pretrained
from saccade.export.preprocessing import preprocess_of_sam
from saccade.export.recipe import Checkpoint, Recipe
from saccade.export.recipes.sam import build
from saccade.runtime.errors import UnknownModel


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of a SAM 2 or 2.1 folder in transformers' layout."""
    return built(pretrained(checkpoint, "Sam2Model"), checkpoint)


def built(model: Any, checkpoint: Checkpoint) -> Recipe:
    """The recipe of a loaded Sam2Model. Raises UnknownModel if its maps are not of SAM's sizes."""
    said = model.config.prompt_encoder_config
    grid = said.image_size // said.patch_size
    want = [[grid * times] * 2 for times in (4, 2, 1)]
    found = [list(size) for size in model.config.vision_config.backbone_feature_sizes]
    if found != want:
        raise UnknownModel(
            f"[export] {checkpoint.id}: maps of {found}; a picture of {said.image_size} has {want}",
            hint="mend backbone_feature_sizes in config.json",
        )
    preprocess = preprocess_of_sam(checkpoint, said.image_size, squash=True)
    stable = model.config.mask_decoder_config.dynamic_multimask_via_stability
    return build(model, _encoder(model), checkpoint, preprocess, "sam2", single="stable" if stable else "first")


def _encoder(model: Any) -> Any:
    import torch

    backbone = model.vision_encoder.backbone
    side = model.config.prompt_encoder_config.image_size // backbone.config.patch_stride[0]
    with torch.no_grad():
        table = backbone._get_pos_embed((side, side)).clone()
    backbone._get_pos_embed = lambda hw: table  # a bicubic resize of constants, done once

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        """Hiera, its feature pyramid, and the decoder's projections of the two finer maps, which no click changes."""

        def __init__(self) -> None:
            super().__init__()
            self.vision, self.none = model.vision_encoder, model.no_memory_embedding
            self.conv0, self.conv1 = model.mask_decoder.conv_s0, model.mask_decoder.conv_s1

        def forward(self, pixels: Any) -> Any:
            fine0, fine1, coarse = self.vision(pixels).fpn_hidden_states
            return coarse + self.none.reshape(1, -1, 1, 1), self.conv0(fine0), self.conv1(fine1)

    return Encoder()
