"""What every test shares: run-time checks of shapes and types, the root, real data where it is.

Set POLYMODAL_SHAPE_CHECKS=0 to run without the checks, as a user does.
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("POLYMODAL_RUNS", "POLYMODAL_DATA", "POLYMODAL_RUN_FOLDER")

# Every module of polymodal imported from here on checks its annotations, jaxtyping's shapes
# included, at each call.
if os.environ.get("POLYMODAL_SHAPE_CHECKS", "1") != "0":
    # An int is fine where a float is asked for, as Python's typing says.
    numbers_as_typed = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    jaxtyping.install_import_hook("polymodal", numbers_as_typed)


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def test_data(test_data_or_none: Path | None) -> Path:
    """The folder with real corpora: POLYMODAL_TEST_DATA, or shared/data beside the repository."""
    if test_data_or_none is None:
        pytest.skip("no real data here; POLYMODAL_TEST_DATA may name its folder")
    return test_data_or_none


@pytest.fixture(scope="session")
def test_data_or_none() -> Path | None:
    """The folder with real corpora, or None: for tests that do other things as well."""
    folder = Path(os.environ.get("POLYMODAL_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


@pytest.fixture
def shape_checks_off() -> Iterator[None]:
    """No run-time checks in this test: it passes a wrong type on purpose, as a YAML file can."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated corpora and computed features, shared by the tests of one process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workplace(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, as a new user would; runs go to `runs` below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMODAL_CACHE", str(cache))
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def polymodal(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line, in this process: arguments to exit code, standard output and error."""
    from polymodal.cli.main import main

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def polymodal_in(cache: Path) -> Callable[..., tuple[int, str, str]]:
    """The command line in a folder, for runs that the tests of a module share."""
    from polymodal.cli.main import main

    def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
        out, error = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("POLYMODAL_CACHE", str(cache))
            for name in PLACES:
                patch.delenv(name, raising=False)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                code = main(list(arguments))
        return code, out.getvalue(), error.getvalue()

    return call


@pytest.fixture
def process(workplace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line in a process of its own."""

    def call(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "polymodal", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return call


@pytest.fixture(scope="session")
def small_models(tmp_path_factory):
    """Tiny random models of the classes that the experiments name."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models

    folder = tmp_path_factory.mktemp("models")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [80, 4]}
    speech = transformers.HubertConfig(
        **sizes,
        **convolutions,
        intermediate_size=24,
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    transformers.HubertModel(speech).save_pretrained(folder / "hubert")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder / "hubert")
    words = transformers.RobertaConfig(
        **sizes, intermediate_size=24, vocab_size=64, max_position_embeddings=64
    )
    transformers.RobertaModel(words).save_pretrained(folder / "roberta")
    vocabulary = {word: number for number, word in enumerate(("<s>", "<pad>", "</s>", "<unk>"))}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")),
        **{"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        **{"cls_token": "<s>", "sep_token": "</s>"},
    ).save_pretrained(folder / "roberta")
    whisper = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
    whisper |= {"d_model": 16, "num_mel_bins": 20, "vocab_size": 60, "decoder_layers": 1}
    whisper |= {"decoder_attention_heads": 2, "decoder_ffn_dim": 24, "max_source_positions": 400}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    heard = transformers.WhisperConfig(**whisper, **ids)
    transformers.WhisperModel(heard).save_pretrained(folder / "whisper")
    extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=8)
    extractor.save_pretrained(folder / "whisper")
    return folder


def newest_run():
    """Return the folder of the newest record in the current folder of runs, of any kind."""
    return max(Path("runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns).parent
