"""A model that lies in a folder, or in the cache of models that were fetched."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from services.runtime.embedding import EmbedderUnavailable

WEIGHTS: Final = "model.onnx"
NEEDED: Final = (WEIGHTS, "tokenizer.json", "config.json")
BLOCKS: Final = 64  # of a file that its fingerprint is made of, evenly spread
BLOCK_BYTES: Final = 4_096
FIX: Final = (
    "Set embeddings.path to a folder with model.onnx, tokenizer.json and config.json, "
    "or leave it out to fetch the model."
)
FETCH: Final = (
    "Let this machine reach huggingface.co, or set embeddings.path to a folder with model.onnx, "
    "tokenizer.json and config.json."
)


class _Shape(msgspec.Struct, frozen=True):
    """The part of a model's config.json that we need."""

    hidden_size: int


class ModelFolder:
    """A folder with a model; its name follows from what is in it.

    Raises:
        EmbedderUnavailable: something is missing or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in NEEDED:
            if not (path / name).is_file():
                raise EmbedderUnavailable(f"the model folder {path} has no {name}", fix=FIX)
        try:
            config = (path / "config.json").read_bytes()
            self.dimensions = msgspec.json.decode(config, type=_Shape).hidden_size
            digest = fingerprint(path)
        except (OSError, msgspec.DecodeError) as error:
            raise EmbedderUnavailable(
                f"the model folder {path} cannot be used: {error}", fix=FIX
            ) from error
        self.name = f"{re.sub('[^A-Za-z0-9_.-]', '-', path.resolve().name)}@{digest}"


def fingerprint(path: Path) -> str:
    """Return what tells this folder's model from another, without reading all of it.

    Two models give other vectors where a weight or a token differs. Such a change is all over the
    file of weights, so blocks of it will do; the tokenizer is read whole.
    """
    digest = sha256((path / "tokenizer.json").read_bytes())
    with (path / WEIGHTS).open("rb") as file:
        size = file.seek(0, 2)
        digest.update(size.to_bytes(8))
        for block in range(BLOCKS):
            file.seek(size * block // BLOCKS)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()[:12]


def is_fetched(model: str, cache: Path) -> bool:
    """Tell whether the cache seems to hold a model; loading it tells for sure."""
    name = model.rpartition("/")[2].lower()
    return any(
        name in entry.name.lower() and any(entry.rglob("*.onnx"))
        for entry in (cache.iterdir() if cache.is_dir() else ())
        if entry.is_dir()
    )
