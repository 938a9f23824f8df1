"""The 1D Efficient U-Net of Noise2Music (appendix B, figures 1 and 5, table 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.blocks import Block
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.convolution import Conv, Entry
from lightning_n2m.networks.embedding import GUIDANCE_UNIT, PooledText, TimeEmbedding, zero_embedding
from lightning_n2m.networks.film import FiLM
from lightning_n2m.networks.number_embedding import NumberEmbedding, NumberName
from lightning_n2m.networks.resampling import Down, ResampleKernel, Up
from lightning_n2m.networks.spectrogram_refiner import PACK, SpectrogramRefiner

_LARGEST = 1 << 20  # of any number in the settings


class UNet1d(nn.Module):
    """A mirror-symmetric U with added (not concatenated) skip connections and four inputs.

    The inputs are x_t with the signals stacked onto it, the diffusion time, a text for cross-attention, and
    a signal aligned with the deepest level. The deepest level has one set of blocks: with two, the number
    of parameters would not be that of table 2. Lengths that the total stride does not divide are padded at
    the input and cropped at the output (30 s at 3.2 kHz are 23.4 times 4096).

    The output of the entry convolution is added to the output of the last up-sampling layer: a path at full
    resolution for the noise, which the first level, of ``base_channels * multiplier`` channels for
    ``stride * base_channels`` numbers, could not pass on. Deviation: this path is scaled by the time
    embedding, as in every block.

    Args:
        channels: Channels of x_t and of the output: 1 for audio, 80 for a log-mel.
        base_channels: Base dimension: width of the entry convolution and of the time embedding.
        multipliers: Width of each level, in multiples of the base dimension.
        strides: Stride into each level.
        blocks: Number of blocks of each level, on either side of the U.
        self_attention: For each level, whether its blocks have self-attention.
        cross_attention: For each level, whether its blocks have cross-attention to the text.
        kernel_size: Kernel of the blocks and of the strided layers.
        heads: Attention heads.
        text_channels: Width of the text vectors; null for a stage without text.
        stacked_channels: Channels stacked onto x_t.
        aligned_channels: Channels of the aligned input.
        known_channels: Channels of the known regions and their mask, see `KnownRegions`. Their convolution
            starts at zero, so that a network starts as the same one without them.
        augmentation_level: Embed the noise level of the stacked or aligned signal.
        pooled_text: Add the mean of the text vectors to the time embedding, as Imagen does. The paper has
            cross-attention only; a small network learns to follow its prompt sooner with it.
        groups: Groups of the norms; the paper does not give them.
        refiner_channels: Width of the 2-D convolutions that correct a spectrogram, see
            `SpectrogramRefiner`; 0, as in the paper, for none.
        checkpointing: Recompute the blocks in the backward pass to save memory.
        resample_kernel: Kernels of the strided layers: the blocks' ``kernel_size`` (networks of earlier
            versions), or the next ``stride_multiple``, two strides at least. The paper does not give them.
        equal_phases: Layers that raise the rate map a constant to a constant, whatever their weights.
            Otherwise they add tones at the multiples of rate / stride (see `equalise_phases`).
        aligned_before_blocks: Add the aligned input before the deepest blocks, as figure 1 shows; false
            for networks of earlier versions, which add it after them.
        step_input: Embed the length of a step in time, for a distilled network (`Conditions.step`). The
            embedding starts at zero, so that the network starts as its teacher.
        guidance_input: Embed the guidance scale, likewise (`Conditions.guidance`).
        numbers: Numbers that the network takes besides the text: ``tempo``, ``tonic``, ``mode``,
            ``beat_phase``. Their weights start at zero. Deviation: none in the paper.

    Raises:
        InputError: If a number is out of range, the lists differ in length, a text is used without its
            width, heads do not divide the channels of a level, the kernel is even, the base dimension is
            odd, the refiner gets an odd number of channels, or phases cannot be equal with these kernels.
    """

    def __init__(
        self,
        channels: int,
        base_channels: int,
        multipliers: Sequence[int],
        strides: Sequence[int],
        blocks: Sequence[int],
        self_attention: Sequence[bool],
        cross_attention: Sequence[bool],
        kernel_size: int = 7,
        heads: int = 8,
        text_channels: int | None = None,
        stacked_channels: int = 0,
        aligned_channels: int = 0,
        known_channels: int = 0,
        augmentation_level: bool = False,
        pooled_text: bool = False,
        groups: int = 32,
        refiner_channels: int = 0,
        checkpointing: bool = False,
        resample_kernel: ResampleKernel = "kernel_size",
        equal_phases: bool = False,
        aligned_before_blocks: bool = False,
        step_input: bool = False,
        guidance_input: bool = False,
        numbers: Sequence[NumberName] = (),
    ) -> None:
        super().__init__()
        for name, value, low in (
            ("channels", channels, 1),
            ("base_channels", base_channels, 2),
            ("kernel_size", kernel_size, 1),
            ("heads", heads, 1),
            ("groups", groups, 1),
            ("text_channels", 1 if text_channels is None else text_channels, 1),
            ("stacked_channels", stacked_channels, 0),
            ("aligned_channels", aligned_channels, 0),
            ("known_channels", known_channels, 0),
            ("refiner_channels", refiner_channels, 0),
            ("multipliers", min(multipliers, default=0), 1),
            ("strides", min(strides, default=0), 1),
            ("blocks", min(blocks, default=0), 0),
        ):
            check_range(f"network.{name}", value, low, _LARGEST)
        lists = {
            "multipliers": multipliers,
            "strides": strides,
            "blocks": blocks,
            "self_attention": self_attention,
            "cross_attention": cross_attention,
        }
        for name, values in lists.items():
            if len(values) != len(strides):
                raise InputError(
                    f"The network has {len(strides)} strides but {len(values)} {name}; give one per level."
                )
        if (any(cross_attention) or pooled_text) and text_channels is None:
            raise InputError(
                "network.text_channels is null, but cross_attention or pooled_text is on; set it to the "
                "width of the text encoder (384 for MiniLM)."
            )
        if kernel_size % 2 == 0:
            raise InputError(f"network.kernel_size is {kernel_size}; set it to an odd number.")
        if base_channels % 2:
            raise InputError(f"network.base_channels is {base_channels}; set it to an even number.")
        if refiner_channels and channels % PACK[0]:
            raise InputError(
                f"network.refiner_channels needs an even number of channels, not {channels}; set it to 0."
            )
        for i, attends in enumerate(zip(self_attention, cross_attention, strict=True)):
            width = base_channels * multipliers[i]
            if any(attends) and width % heads:
                raise InputError(
                    f"Level {i + 1} of the network has {width} channels, not a multiple of its {heads} "
                    "heads; change heads, base_channels or multipliers."
                )
        self.channels, self.text_channels = channels, text_channels
        self.first_stride, self.total_stride = strides[0], math.prod(strides)
        self.checkpointing = checkpointing
        self.aligned_before_blocks = aligned_before_blocks
        widths = [base_channels, *(base_channels * m for m in multipliers)]

        self.time = TimeEmbedding(base_channels)
        self.level = TimeEmbedding(base_channels) if augmentation_level else None
        self.step = zero_embedding(base_channels) if step_input else None
        self.guidance = zero_embedding(base_channels) if guidance_input else None
        self.pooled_text = PooledText(text_channels or 0, base_channels) if pooled_text else None
        self.numbers = NumberEmbedding(numbers, base_channels) if numbers else None
        self.entry = Entry(channels + stacked_channels, base_channels, 3, padding=1)
        # Not part of `entry`: sums in another order would change the last bits of the output.
        self.known = Conv(known_channels, base_channels, 3, padding=1, bias=False) if known_channels else None
        if self.known is not None:
            nn.init.zeros_(self.known.weight)
        self.combine_entry = FiLM(base_channels, base_channels)
        self.exit = Conv(base_channels, channels, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        self.picture = (
            SpectrogramRefiner(channels, refiner_channels, base_channels) if refiner_channels else None
        )
        self.aligned = Conv(aligned_channels, widths[-1], 1) if aligned_channels else None

        def level_blocks(i: int) -> nn.ModuleList:
            return nn.ModuleList(
                Block(
                    widths[i + 1],
                    kernel_size,
                    base_channels,
                    self_attention[i],
                    text_channels if cross_attention[i] else None,
                    heads,
                    groups,
                )
                for _ in range(blocks[i])
            )

        depth = range(len(strides))
        self.downs = nn.ModuleList(
            Down(widths[i], widths[i + 1], kernel_size, strides[i], resample_kernel) for i in depth
        )
        self.ups = nn.ModuleList(
            Up(widths[i + 1], widths[i], kernel_size, strides[i], resample_kernel, equal_phases)
            for i in depth
        )
        self.blocks_down = nn.ModuleList(level_blocks(i) for i in depth)
        self.blocks_up = nn.ModuleList(level_blocks(i) for i in depth[:-1])

    def forward(self, x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        """One network evaluation.

        Args:
            x: x_t, ``(b, channels, t)``.
            t: Diffusion times in [0, 1], ``(b,)``.
            conditions: The other inputs.

        Returns:
            v, epsilon or x0, whichever the objective predicts, ``(b, channels, t)``.
        """
        conditions = conditions or Conditions()
        x_t, length = x, x.shape[-1]
        if conditions.stacked is not None:
            x = torch.cat([x, conditions.stacked], dim=1)
        x = F.pad(x, (0, -length % self.total_stride))
        embedding = self._embed(t, conditions)

        # Down: strided convolution, then the blocks of the level.
        x = self.entry(x)
        if self.known is not None and conditions.known is not None:
            x = x + self.known(F.pad(conditions.known, (0, -length % self.total_stride)))
        if self.numbers is not None and self.numbers.beat_phase is not None:
            x = self._add_beat_phase(x, self.numbers.beat_phase, conditions)
        skips = [self.combine_entry(x, embedding)]
        deepest = len(self.downs) - 1
        for i, (down, blocks) in enumerate(zip(self.downs, self.blocks_down, strict=True)):
            x = down(x)
            if i == deepest and self.aligned_before_blocks:
                x = self._add_aligned(x, conditions)
            x = self._run(blocks, x, embedding, conditions)
            skips.append(x)
        skips.pop()  # The deepest level has one set of blocks, and so no skip.
        if not self.aligned_before_blocks:
            x = self._add_aligned(x, conditions)
        # Up: the blocks of the level, then the transposed convolution; the skip connection is added.
        for i in reversed(range(len(self.ups))):
            if i < len(self.blocks_up):
                x = self._run(self.blocks_up[i], x, embedding, conditions)
            x = self.ups[i](x) + skips[i]
        x = self.exit(x)[..., :length]
        return x if self.picture is None else self.picture(x_t, x, embedding)

    def with_new_inputs(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network without some of the inputs, completed by this network's own.

        These are the inputs of a distilled network, the known regions and the numbers.
        """
        names = ("step.", "guidance.", "known.", "numbers.")
        own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(names)}
        return own | dict(weights)

    def _embed(self, t: Tensor, conditions: Conditions) -> Tensor:
        """Embedding ``(b, base_channels)`` of diffusion time, level of the conditioning, step and text."""
        embedding = self.time(t)
        if self.level is not None:
            level = torch.zeros_like(t) if conditions.level is None else conditions.level
            embedding = embedding + self.level(level)
        if self.step is not None:
            step = torch.zeros_like(t) if conditions.step is None else conditions.step
            embedding = embedding + self.step(step)
        if self.guidance is not None:
            scale = torch.ones_like(t) if conditions.guidance is None else conditions.guidance
            embedding = embedding + self.guidance(scale / GUIDANCE_UNIT)
        if self.pooled_text is not None and conditions.text is not None and conditions.text_mask is not None:
            embedding = embedding + self.pooled_text(conditions.text, conditions.text_mask)
        if self.numbers is not None:
            embedding = self.numbers(conditions, embedding)
        return F.silu(embedding)

    @property
    def number_names(self) -> tuple[NumberName, ...]:
        """Numbers that the network takes besides the text."""
        return () if self.numbers is None else self.numbers.names

    def _add_beat_phase(self, x: Tensor, layer: nn.Module, conditions: Conditions) -> Tensor:
        if conditions.beat_phase is None:
            return x
        phase = conditions.beat_phase.to(x.dtype)
        return x + layer(F.pad(phase, (0, x.shape[-1] - phase.shape[-1])))

    def _add_aligned(self, x: Tensor, conditions: Conditions) -> Tensor:
        if self.aligned is None or conditions.aligned is None:
            return x
        aligned = self.aligned(conditions.aligned)
        return x + F.pad(aligned, (0, x.shape[-1] - aligned.shape[-1]))

    def _run(self, blocks: nn.Module, x: Tensor, embedding: Tensor, conditions: Conditions) -> Tensor:
        assert isinstance(blocks, nn.ModuleList)
        text = conditions.text, conditions.text_mask
        for block in blocks:
            if self.checkpointing and x.requires_grad:
                x = checkpoint(block, x, embedding, *text, use_reentrant=False)
            else:
                x = block(x, embedding, *text)
        return x
