"""The doctor says whether memories are found by meaning, and what to do if not."""

import pytest

from services.cli.checks import recall as check
from services.runtime.clock import SystemClock
from services.runtime.config import Config, EmbeddingSettings
from tests.support.model_folder import FOLDER, needs_model


async def found(tmp_path, **settings):
    config = Config(data_dir=tmp_path, embeddings=EmbeddingSettings(**settings))
    (finding,) = [each async for each in check.recall(config, SystemClock())]
    return finding


@needs_model
async def test_a_model_that_works_is_named(tmp_path):
    finding = await found(tmp_path, path=FOLDER)
    assert finding.level == "ok"
    assert "384 dimensions" in finding.text


async def test_a_folder_without_a_model_is_named_with_what_to_do(tmp_path):
    finding = await found(tmp_path, path=tmp_path / "nowhere")
    assert finding.level == "warn"
    assert "words and links alone" in finding.text
    assert "nowhere has no model.onnx" in finding.text
    assert "embeddings.path" in (finding.fix or "")


@pytest.mark.parametrize("reached", [True, False])
async def test_whether_the_hub_can_be_reached_is_told(tmp_path, monkeypatch, reached):
    async def reaches():
        return reached

    monkeypatch.setattr(check, "_reaches_hub", reaches)
    finding = await found(tmp_path)
    assert finding.level == ("ok" if reached else "warn")
    assert reached or "huggingface.co" in (finding.fix or "")


async def test_where_fetching_is_off_and_nothing_is_there_it_says_so(tmp_path):
    finding = await found(tmp_path, fetch=False)
    assert finding.level == "warn"
    assert "embeddings.fetch" in finding.text
