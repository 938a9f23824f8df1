"""A cache of tensors on the host whose size is bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor


class TensorCache:
    """Tensors by text; the least recently used ones are dropped first.

    Args:
        max_bytes: Upper bound on the bytes of all tensors together. A larger tensor is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._tensors: OrderedDict[str, Tensor] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        return text in self._tensors

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, text: str) -> Tensor | None:
        """The tensor of a text, which then counts as the most recently used; None if it is not cached."""
        tensor = self._tensors.get(text)
        if tensor is not None:
            self._tensors.move_to_end(text)
        return tensor

    def put(self, text: str, tensor: Tensor) -> None:
        """Keep a tensor, and drop others until the bound holds again."""
        replaced = self._tensors.pop(text, None)
        if replaced is not None:
            self.bytes -= replaced.nbytes
        # A view would keep the memory of the whole tensor that it is a part of.
        owned = tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
        self._tensors[text] = owned
        self.bytes += owned.nbytes
        while self.bytes > self.max_bytes:
            _, dropped = self._tensors.popitem(last=False)
            self.bytes -= dropped.nbytes
