"""Where the weights come from: a folder, a file of open_clip, or an id of the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from saccade.export.recipe import Checkpoint
from saccade.runtime.errors import ExportError, MissingExtra, Offline, UnknownModel

FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md", "LICENSE*")
"""What is fetched: weights as safetensors, never pickles, and the small files beside them."""
PICKLED = (".pth", ".pt")
"""Files that torch wrote: read as tensors and nothing else, and only when they are named themselves."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def resolve(source: str | os.PathLike[str], revision: str | None = None, license: str | None = None) -> Checkpoint:
    """The checkpoint that `source` names, on this disk.

    source: a folder in the layout of transformers or open_clip, an open_clip .safetensors file with its config beside
        it, a .pth or .pt file of an official layout (SAM, MobileSAM, GLIP), or an id such as
        "openai/clip-vit-base-patch32", which is fetched unless the local cache has it
    Raises UnknownModel if there is no such thing, Offline if the hub cannot be asked.
    """
    path = Path(source)
    if path.is_file() and path.suffix.lower() in PICKLED:
        return Checkpoint(path.parent, path.stem, revision or "", license or "", weights=path)
    if path.is_file():
        path = path.parent
    if path.is_dir():
        return Checkpoint(path, path.resolve().name, revision or "", license or _license(path))
    text = os.fspath(source)
    if path.suffix.lower() in PICKLED:
        raise UnknownModel(f"[export] no such file: {text}", hint="give the path of the official checkpoint")
    if not HUB_ID.fullmatch(text):
        raise UnknownModel(f"[export] no such folder: {text}", hint="give a folder, or a hub id such as OWNER/NAME")
    folder = _fetched(text, revision)
    return Checkpoint(folder, text, revision or folder.name, license or _license(folder))


def _fetched(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise MissingExtra("huggingface-hub", "export", purpose="fetching a model") from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except RevisionNotFoundError:
        raise UnknownModel(
            f"[export] {name} has no revision {revision}", hint="look it up on the model's page"
        ) from None
    except RepositoryNotFoundError:
        raise UnknownModel(
            f"[export] the hub has no public model {name}", hint="check the id; log in for gated ones"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise Offline(
            f"[export] {name} is not in the local cache and the hub cannot be reached ({type(error).__name__})",
            hint="give a local folder with the model's files, or try again with a network",
        ) from None
    except Exception as error:  # the hub's client raises what its HTTP library of the day raises
        why = " ".join(str(error).split())[:160]
        raise Offline(
            f"[export] {name} cannot be fetched: {why}", hint="give a local folder with the model's files"
        ) from None


def _license(folder: Path) -> str:
    """The SPDX name in the front matter of a model card; empty without one."""
    try:
        head = (folder / "README.md").read_text("utf-8", "replace")[:4096]
    except OSError:
        return ""
    found = re.search(r"\A---\n.*?^license:[ \t]*['\"]?([\w.+-]+)", head, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def refuse_pickle(checkpoint: Checkpoint) -> None:
    """Raise ExportError if a folder has only pickled weights, which could run code when read.

    A .pth or .pt file that was named itself passes: saccade.export.state_dict reads it without running anything.
    """
    folder = checkpoint.folder
    if checkpoint.weights is not None or any(folder.glob("*.safetensors")):
        return
    pickled = next((file.name for kind in PICKLED for file in sorted(folder.glob(f"*{kind}"))), "")
    hint = "convert pickled weights in a sandbox first: transformers' save_pretrained writes safetensors"
    if pickled:
        hint = f"if {pickled} is an official SAM, MobileSAM or GLIP checkpoint, name the file; else " + hint
    raise ExportError(f"[export] {folder.name} has no .safetensors weights", hint=hint)
