"""A checkpoint's folder becomes the trained model and its tokenizer, by transformers, which holds their conversions."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

from saccade.export.recipe import Checkpoint
from saccade.runtime.errors import ExportError
from saccade.runtime.text import TokenizerSpec

TOKENIZER = "tokenizer.json"
_VOCABULARIES = ("vocab.json", "tokenizer.model", "spiece.model")
_MEND = "fetch the model again, or take one in the layout of transformers"


def pretrained(checkpoint: Checkpoint, name: str) -> Any:
    """The model of transformers' class `name` with the trained weights, float32, ready to export.

    Through from_pretrained, never load_state_dict: names of weights changed in transformers 5 and it holds the map.
    Attention is the eager one, which becomes the plainest graph. Raises ExportError if weights are missing or damaged.
    """
    import torch
    import transformers

    with hushed():
        try:
            model, report = getattr(transformers, name).from_pretrained(
                checkpoint.folder,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # transformers, safetensors and torch each raise their own
            why = " ".join(str(error).split())[:240]
            raise ExportError(f"[export] {checkpoint.id}: cannot be loaded: {why}", hint=_MEND) from error
    if lost := sorted(report["missing_keys"]):
        raise ExportError(f"[export] {checkpoint.id}: {len(lost)} weights are missing, {lost[0]} the first", hint=_MEND)
    if odd := sorted(map(str, report["mismatched_keys"])):
        raise ExportError(f"[export] {checkpoint.id}: {odd[0]} has another shape than config.json says", hint=_MEND)
    return model.eval().requires_grad_(False)


def tokenizer_of(checkpoint: Checkpoint, positions: int, *, fixed: bool) -> tuple[TokenizerSpec, bytes]:
    """The checkpoint's tokenizer as a value and as the bytes of a tokenizer.json.

    positions: tokens that the model reads at most
    fixed: the model was trained on texts padded to that many
    Raises ExportError without a tokenizer that the `tokenizers` library can run.
    """
    said = checkpoint.json("tokenizer_config.json")
    siglip = fixed and said.get("tokenizer_class", "SiglipTokenizer") in ("SiglipTokenizer", "SiglipTokenizerFast")
    reader, side = _plain(checkpoint), "right"
    if not siglip:
        loaded = _loaded(checkpoint)
        reader, side = loaded.backend_tokenizer, loaded.padding_side
    if reader is None:
        raise ExportError(
            f"[export] {checkpoint.id}: no {TOKENIZER}", hint=f"put the model's {TOKENIZER} into its folder"
        )
    pad = loaded.pad_token_id if not siglip else reader.token_to_id(_text(said.get("pad_token", "</s>")))
    if pad is None:
        raise ExportError(f"[export] {checkpoint.id}: its tokenizer has no padding token", hint=_MEND)
    longest = min(positions, int(min(said.get("model_max_length") or positions, positions)))
    spec = TokenizerSpec(
        file=TOKENIZER,
        max_length=longest,
        pad_id=int(pad),
        pad_to=positions if fixed else 0,
        pad_side=side,
        lower=siglip and bool(said.get("do_lower_case", True)),
        canonical=siglip,
    )
    return spec, _bytes(reader)


def clip_tokenizer(checkpoint: Checkpoint, positions: int) -> tuple[TokenizerSpec, bytes]:
    """CLIP's tokenizer from tokenizer.json, or vocab.json and merges.txt, whatever else the folder says."""
    from transformers import CLIPTokenizer

    loaded = _loaded(checkpoint, CLIPTokenizer)
    spec = TokenizerSpec(file=TOKENIZER, max_length=positions, pad_id=int(loaded.eos_token_id))
    return spec, _bytes(loaded.backend_tokenizer)


def bert_tokenizer(checkpoint: Checkpoint, positions: int) -> tuple[TokenizerSpec, bytes]:
    """BERT's tokenizer from tokenizer.json, or vocab.txt (lower case), whatever else the folder says.

    positions: tokens that the model reads at most
    Raises ExportError without either.
    """
    from tokenizers import Tokenizer as Reader
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    words = checkpoint.folder / "vocab.txt"
    reader = _plain(checkpoint)
    if reader is None and not words.is_file():
        raise ExportError(
            f"[export] {checkpoint.id}: no {TOKENIZER} or vocab.txt beside it",
            hint=f"put bert-base-uncased's {TOKENIZER} or vocab.txt into the folder of the weights",
        )
    try:
        if reader is None:
            reader = Reader(models.WordPiece.from_file(str(words), unk_token="[UNK]"))
            reader.normalizer, reader.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
            ends = [(token, int(reader.token_to_id(token))) for token in ("[SEP]", "[CLS]")]
            reader.post_processor, reader.decoder = processors.BertProcessing(*ends), decoders.WordPiece()
    except Exception as error:
        why = " ".join(str(error).split())[:160]
        raise ExportError(f"[export] {checkpoint.id}: no usable tokenizer: {why}", hint=_MEND) from None
    pad = reader.token_to_id("[PAD]")
    return TokenizerSpec(file=TOKENIZER, max_length=positions, pad_id=int(pad or 0)), _bytes(reader)


def _bytes(reader: Any) -> bytes:
    reader.no_padding()
    reader.no_truncation()
    # Compact, and read once more here: what does not parse now would not parse on the robot.
    return json.dumps(json.loads(reader.to_str()), ensure_ascii=False, separators=(",", ":")).encode()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Without transformers' progress bars and advice: our own progress is shown, errors are raised."""
    from transformers.utils import logging as said

    bars, level = said.is_progress_bar_enabled(), said.get_verbosity()
    said.disable_progress_bar()
    said.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()


def _plain(checkpoint: Checkpoint) -> Any:
    from tokenizers import Tokenizer

    file = checkpoint.folder / TOKENIZER
    try:
        return Tokenizer.from_file(str(file)) if file.is_file() else None
    except Exception as error:
        raise ExportError(f"[export] {checkpoint.id}/{TOKENIZER}: {str(error)[:120]}", hint=_MEND) from error


def _loaded(checkpoint: Checkpoint, kind: Any = None) -> Any:
    from transformers import AutoTokenizer

    # transformers makes an empty tokenizer where there is none: every word would be the unknown token.
    if not any((checkpoint.folder / name).is_file() for name in (TOKENIZER, *_VOCABULARIES)):
        raise ExportError(
            f"[export] {checkpoint.id}: no {TOKENIZER}", hint=f"put the model's {TOKENIZER} into its folder"
        )
    with hushed():
        try:
            found = (kind or AutoTokenizer).from_pretrained(checkpoint.folder, local_files_only=True)
        except Exception as error:
            why = " ".join(str(error).split())[:200]
            raise ExportError(f"[export] {checkpoint.id}: no usable tokenizer: {why}", hint=_MEND) from error
    if not hasattr(found, "backend_tokenizer"):
        raise ExportError(
            f"[export] {checkpoint.id}: its tokenizer is no fast one", hint=f"put a {TOKENIZER} beside it"
        )
    return found


def _text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
