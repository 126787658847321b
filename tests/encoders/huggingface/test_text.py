"""Pretrained text encoders, on tiny random models of the real classes."""

import itertools
import json
import pickle
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.data.dataset import pad
from polymodal.encoders.extractor import BatchedExtractor
from polymodal.encoders.huggingface.text import (
    PretrainedTextEmbeddings,
    PretrainedTextEncoder,
    PretrainedTextExtractor,
)
from polymodal.encoders.huggingface.text_settings import load_tokenizer
from polymodal.errors import CheckpointError, ConfigError, DataError
from polymodal.schemas.batch import PaddedSequence
from polymodal.training.optimizers import parameter_groups

transformers = pytest.importorskip("transformers")

WORDS = ["오늘", "정말", "기뻐요", "슬퍼요", "the", "day", "was", "good"]
SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]  # the padding is number 1, as RoBERTa has it
COMMON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
COMMON |= {"intermediate_size": 24, "vocab_size": 16, "max_position_embeddings": 20}
COMMON |= {"pad_token_id": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3}
RELATIVE |= {"position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True}
MODELS = {
    "roberta": ("Roberta", COMMON),
    "bert": ("Bert", COMMON),
    "electra": ("Electra", {**COMMON, "embedding_size": 8}),
    "deberta": ("DebertaV2", {**COMMON, **RELATIVE, "conv_act": "gelu"}),
    "xlm-roberta": ("XLMRoberta", COMMON),
}
TEXT = "오늘 정말 기뻐요 the day was good"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def store(folder: Path, kind: str, options: dict) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    with torch.no_grad():  # fresh models are so even that little could be told apart
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 0), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {name: store(root / name, *of) for name, of in MODELS.items()}


def rewrite(path: Path, **changed) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def build(folder: Path, **options) -> PretrainedTextEncoder:
    return PretrainedTextEncoder(str(folder), **options)


def batch(encoder: PretrainedTextEncoder, *texts: str) -> PaddedSequence:
    return pad([encoder.transform()(text) for text in texts])


@pytest.mark.parametrize("garbage", [0, 9, 10**6])
@pytest.mark.parametrize("name", MODELS)
def test_alone_in_a_batch_and_beside_garbage_are_the_same(folders, name, garbage):
    encoder = build(folders[name]).eval()
    together = batch(encoder, TEXT, "", "슬퍼요", "the day")
    together.valid_mask[2, 1:] = False  # a single token
    together.values.masked_fill_(~together.valid_mask, garbage)
    output = encoder(together)
    assert output.num_valid.tolist() == [9, 0, 1, 4]
    assert output.values.shape == (4, 9, encoder.feature_size)
    assert torch.isfinite(output.values).all()
    for row, length in enumerate(together.num_valid.tolist()):
        cut = slice(row, row + 1), slice(0, length)
        alone = encoder(PaddedSequence(together.values[cut], together.valid_mask[cut]))
        torch.testing.assert_close(
            output.values[row][output.valid_mask[row]],
            alone.values[0][alone.valid_mask[0]],
            atol=1e-4,
            rtol=1e-4,
        )


def test_attention_always_has_something_to_see(folders):
    encoder, seen = build(folders["roberta"]).eval(), []
    encoder.backbone.model.register_forward_pre_hook(
        lambda module, inputs, options: seen.append(options["attention_mask"]), with_kwargs=True
    )
    encoder(batch(encoder, TEXT, ""))
    empty = encoder(PaddedSequence(torch.zeros(2, 0).long(), torch.zeros(2, 0, dtype=torch.bool)))
    assert [mask.sum(dim=1).tolist() for mask in seen] == [[9, 1], [1, 1]]
    assert empty.values.shape == (2, 1, 16)
    assert not empty.valid_mask.any()


@pytest.mark.parametrize("name", MODELS)
def test_one_text_gives_what_transformers_gives(folders, name):
    encoder = build(folders[name]).eval()
    model = transformers.AutoModel.from_pretrained(folders[name]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[name])
    expected = model(input_ids=tokenizer(TEXT, return_tensors="pt")["input_ids"])
    output = encoder(batch(encoder, TEXT))
    torch.testing.assert_close(output.values, expected.last_hidden_state, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_is_the_last(folders, name):
    for layer, moves in (("last", True), (2, True), (1, False), ("weighted", True)):
        encoder = build(folders[name], layer=layer).eval()
        blocks = encoder.backbone.model.encoder.layer
        assert len(blocks) == (1 if layer == 1 else 2)
        inputs = batch(encoder, TEXT)
        before = encoder(inputs).values
        with torch.no_grad():
            blocks[-1].output.dense.weight.add_(torch.randn_like(blocks[-1].output.dense.weight))
        difference = (before - encoder(inputs).values).abs().max()
        assert difference > 1e-2
        if not moves:
            last = build(folders[name], layer="last").eval()
            assert not torch.allclose(before, last(inputs).values, atol=1e-2)


@pytest.mark.parametrize("layer", ["last", 1, "weighted"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter_that_is_trained(folders, name, layer):
    encoder = build(folders[name], layer=layer)
    output = encoder(batch(encoder, TEXT, "", "슬퍼요"))
    (output.values * torch.randn_like(output.values)).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.requires_grad, key
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(
    ("freeze", "frozen", "trained"),
    [
        ("embeddings", "embeddings.", "layer.0."),
        (1, "layer.0.", "layer.1."),
        ("all", "layer.1.", None),
    ],
)
def test_freezing_leaves_no_gradient(folders, freeze, frozen, trained):
    encoder = build(folders["roberta"], freeze=freeze)
    output = encoder(batch(encoder, TEXT))
    if trained:
        output.values.sin().sum().backward()
    assert output.values.requires_grad == bool(trained)
    for key, parameter in encoder.named_parameters():
        if frozen in key:
            assert parameter.grad is None, key
        if trained and trained in key:
            assert parameter.grad is not None, key


@pytest.mark.parametrize("name", MODELS)
def test_lora_trains_nothing_but_its_adapters(folders, name):
    pytest.importorskip("peft")
    encoder = build(folders[name], lora={"r": 2})
    inputs = batch(encoder, TEXT)
    encoder(inputs).values.sin().sum().backward()
    trained = {key for key, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in key for key in trained)
    for key, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == (key in trained), key
        assert "lora_B" not in key or parameter.grad.abs().sum() > 0, key


def test_blocks_learn_the_slower_the_lower_they_are_also_through_adapters(folders):
    groups = parameter_groups(build(folders["roberta"], layer_decay=0.5, lora={"r": 2}))
    assert [group["lr_scale"] for group in groups] == [0.5, 0.25]
    assert [
        group["lr_scale"] for group in parameter_groups(build(folders["bert"], layer_decay=0.5))
    ] == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert build(folders["roberta"]).learning_rate_scales() == {}


def test_recomputed_activations_give_the_same_gradients(folders):
    gradients = []
    for recomputed in (False, True):
        encoder = build(folders["roberta"], gradient_checkpointing=recomputed)
        encoder(batch(encoder, TEXT, "슬퍼요")).values.sin().sum().backward()
        gradients.append([first.grad for first in encoder.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_tokens_are_those_of_the_tokenizer_in_composed_letters(folders):
    tokenize = build(folders["roberta"]).transform()
    assert tokenize("오늘 good").tolist() == [0, 4, 11, 2]
    assert tokenize(unicodedata.normalize("NFD", "오늘 good")).tolist() == [0, 4, 11, 2]
    assert [tokenize(blank) for blank in ("", " \n", None)] == [None, None, None]


def test_the_transform_is_pickled_without_its_tokenizer(folders):
    tokenize = build(folders["roberta"]).transform()
    stored = pickle.dumps(tokenize)
    assert len(stored) < 1000
    load_tokenizer.cache_clear()
    np.testing.assert_array_equal(pickle.loads(stored)(TEXT), tokenize(TEXT))


def test_a_long_text_is_cut_or_refused(folders):
    assert build(folders["bert"]).transform().max_length == 20
    most = build(folders["roberta"])
    assert most.transform().max_length == 18  # positions begin behind that of the padding
    assert torch.isfinite(most(batch(most, "good " * 40)).values).all()
    cut = build(folders["roberta"], max_length=4).transform()
    assert cut(TEXT).tolist() == [0, 4, 5, 2]
    refusing = build(folders["roberta"], max_length=4, longer="refuse").transform()
    assert refusing("the day").tolist() == [0, 8, 9, 2]
    with pytest.raises(DataError, match="a text of 9 tokens"):
        refusing(TEXT)


@pytest.mark.parametrize("name", MODELS)
def test_windows_of_a_long_text_are_read_one_by_one_and_joined(folders, name):
    encoder = build(folders[name], max_length=6, longer="windows").eval()
    texts = [TEXT, "the day", "", "good " * 9, "the day good the"]  # the last one just fits
    together = batch(encoder, *texts)
    output = encoder(together)
    assert output.num_valid.tolist() == [9, 4, 0, 11, 6]
    plain = build(folders[name], max_length=6).eval()
    for row in (1, 4):
        fits = plain(batch(plain, texts[row])).values[0]
        torch.testing.assert_close(output.values[row, : len(fits)], fits, atol=1e-4, rtol=1e-4)
    tokens = together.values[0]
    first = torch.cat([tokens[:5], tokens[8:9]])[None]  # its beginning, and the end of the text
    head = plain(PaddedSequence(first, torch.ones_like(first, dtype=torch.bool))).values[0]
    torch.testing.assert_close(output.values[0, :4], head[:4], atol=1e-4, rtol=1e-4)
    alone = encoder(batch(encoder, TEXT))
    torch.testing.assert_close(output.values[0, :9], alone.values[0], atol=1e-4, rtol=1e-4)


def test_windows_need_one_token_at_each_end(tmp_path):
    folder = store(tmp_path, "Bert", MODELS["bert"][1])
    rewrite(folder / "tokenizer.json", post_processor=None)
    with pytest.raises(ConfigError, match="0 tokens around a text"):
        build(folder, longer="windows")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 0}, "0 would be the input"),
        ({"freeze": "convolutions"}, "none, embeddings, all"),
        ({"freeze": 2}, "from 0 to 1"),
        ({"max_length": 19}, "from 3 to 18"),
        ({"longer": "truncat"}, "did you mean 'truncate'"),
        ({"lora": {"r": 2}, "freeze": 1}, "freeze=1 with lora"),
    ],
)
def test_nonsense_is_refused(folders, options, message):
    with pytest.raises(ConfigError, match=message):
        build(folders["roberta"], **options)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = store(tmp_path / "small", "Roberta", {**COMMON, "vocab_size": 6})
    with pytest.raises(CheckpointError, match="has 12 tokens"):
        build(folder)


def test_code_beside_a_known_architecture_is_never_run(folders, tmp_path):
    folder = shutil.copytree(folders["roberta"], tmp_path / "evil")
    for name, kinds in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        rewrite(folder / name, auto_map={kinds: "evil.Evil"})
    (folder / "evil.py").write_text("raise SystemExit('was run')")
    assert type(build(folder).backbone.model) is transformers.RobertaModel


def test_a_model_without_a_padding_token_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["roberta"], tmp_path / "bare")
    rewrite(folder / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match="pad_token_id"):
        build(folder)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folder = store(tmp_path / "bare", "Roberta", COMMON)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        build(folder)


@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_stored_vectors_are_those_of_the_encoder(folders, pooling):
    folder = folders["electra"]
    extractor = pickle.loads(
        pickle.dumps(PretrainedTextExtractor(str(folder), layer=1, pooling=pooling))
    )
    encoder = build(folder, layer=1).eval()
    tokens = encoder(batch(encoder, TEXT)).values[0].detach()
    expected = tokens.mean(dim=0, keepdim=True) if pooling == "mean" else tokens
    np.testing.assert_allclose(extractor(TEXT), expected.numpy(), atol=1e-5)
    assert (extractor(" ") == np.zeros((1, 16))).all()
    embeddings = PretrainedTextEmbeddings(str(folder), layer=1, pooling=pooling)
    assert embeddings.extractor.identity == extractor.identity
    assert embeddings.feature_size == 16


@pytest.mark.parametrize("pooling", ["mean", "none"])
@pytest.mark.parametrize("name", MODELS)
def test_several_at_once_are_each_as_alone(folders, name, pooling):
    extractor = PretrainedTextExtractor(str(folders[name]), pooling=pooling)
    assert isinstance(extractor, BatchedExtractor)
    texts = [TEXT, " ", "슬퍼요", f"{TEXT} {TEXT} {TEXT}", "the day"]
    for ours, text in zip(extractor.extract_batch(texts), texts, strict=True):
        np.testing.assert_allclose(ours, extractor(text), atol=1e-4)


def test_the_identity_is_the_content_and_the_options(folders):
    def identity(name, **options):
        return PretrainedTextExtractor(str(folders[name]), **options).identity

    options = [{}, {"layer": 1}, {"pooling": "none"}, {"max_length": 5}, {"longer": "refuse"}]
    identities = [identity("roberta", **changes) for changes in options] + [identity("bert")]
    assert len(set(identities)) == len(identities)


def test_what_was_written_anew_is_read_anew(tmp_path):
    """In one process: vectors of the old files under the new identity would be stored wrongly."""
    folder = store(tmp_path / "model", "Bert", COMMON)

    def vectors() -> tuple[str, np.ndarray]:
        extractor = PretrainedTextExtractor(str(folder))
        return extractor.identity, extractor(TEXT)

    seen = [vectors()]
    transformers.BertModel(transformers.BertConfig(**COMMON)).save_pretrained(folder)
    seen.append(vectors())
    vocabulary = folder / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"good": 11', '"fine": 11'))
    seen.append(vectors())
    for before, after in itertools.pairwise(seen):
        assert before[0] != after[0]
        assert not np.allclose(before[1], after[1])
