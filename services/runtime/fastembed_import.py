"""The only importer of FastEmbed, which takes a second and 90 MB: only in the embedder's thread."""

import os
from pathlib import Path
from typing import Final

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from huggingface_hub import get_session
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.utils.tqdm import disable_progress_bars
from loguru import logger

from services.runtime.model_folder import WEIGHTS, ModelFolder

THREADS: Final = max(1, (os.cpu_count() or 1) // 2)  # the services want the other cores
# An arena keeps what the longest text ever took, hundreds of megabytes.
HUB_S: Final = 10.0  # that the hub may take to answer
ARENA: Final = False

disable_progress_bars()
logger.disable("fastembed")  # it says on standard error what its exceptions say


def from_folder(folder: ModelFolder) -> TextEmbedding:
    """Load the model of a folder."""
    name = f"folder/{folder.name}"
    if name.lower() not in {
        known["model"].lower() for known in TextEmbedding.list_supported_models()
    }:
        TextEmbedding.add_custom_model(
            model=name,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf=name),
            dim=folder.dimensions,
            model_file=WEIGHTS,
        )
    return TextEmbedding(
        name, specific_model_path=str(folder.path), threads=THREADS, enable_cpu_mem_arena=ARENA
    )


def by_name(name: str, cache: Path, *, fetch: bool) -> TextEmbedding:
    """Load a model from the cache, or fetch it into the cache first where that is allowed."""
    try:
        return TextEmbedding(
            name,
            cache_dir=str(cache),
            threads=THREADS,
            local_files_only=True,
            enable_cpu_mem_arena=ARENA,
        )
    except ValueError:  # unknown to FastEmbed, or not in the cache
        if not fetch:
            raise
    get_session().head(ENDPOINT, timeout=HUB_S)  # FastEmbed itself tries for a minute
    return TextEmbedding(name, cache_dir=str(cache), threads=THREADS, enable_cpu_mem_arena=ARENA)
