"""The only importer of FastEmbed, which takes a second and 90 MB: only in the embedder's thread."""

from pathlib import Path
from typing import Final

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from fastembed.text.onnx_embedding import OnnxTextEmbedding
from huggingface_hub import get_session
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.utils.tqdm import disable_progress_bars
from loguru import logger
from onnxruntime import (  # type: ignore[import-untyped]  # it has no types
    InferenceSession,
    SessionOptions,
)

from services.runtime.model_folder import WEIGHTS, ModelFolder

HUB_S: Final = 10.0  # that the hub may take to answer
# An arena keeps what the longest text ever took, hundreds of megabytes.
ARENA: Final = False
# Fused with the addition before it, the normalisation of a layer takes longer than both apart: a
# twelfth of the whole model, measured with onnxruntime 1.32.
NOT_FUSED: Final = ["SkipLayerNormFusion"]
THREADS: Final = 1  # for one batch: whoever asks has a thread for each

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
    model = TextEmbedding(name, specific_model_path=str(folder.path), lazy_load=True)
    model.token_count("tokens")  # loads the tokenizer, which is all that is still to be loaded
    onnx = model.model
    assert isinstance(onnx, OnnxTextEmbedding)  # noqa: S101 - as every custom model is
    onnx.model = _session(folder.path / WEIGHTS)
    return model


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


def _session(weights: Path) -> InferenceSession:
    """Load weights with options that FastEmbed passes on none of."""
    options = SessionOptions()
    options.intra_op_num_threads = THREADS
    options.enable_cpu_mem_arena = ARENA
    return InferenceSession(
        str(weights),
        sess_options=options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=NOT_FUSED,
    )
