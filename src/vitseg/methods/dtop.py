"""DToP: a plain ViT whose tokens leave at an exit once its head is sure of them (ICCV 2023).

With the heads "atm" it prunes SegViT, with "fcn" SETR. A model is trained with `pruning.threshold` 1, at which nobody
leaves; from there it can be pruned as it is (the thesis' "direct"), or trained on at a threshold below 1 ("finetune",
`training.init_from`); "retrain" trains at that threshold from the start. Pruning acts in training and evaluation alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vitseg.backbones import BackboneConfig, create_backbone
from vitseg.backbones.plain_vit import PlainViT
from vitseg.backbones.pruned import AliveTokens, PrunedViT, require_known_exits
from vitseg.backbones.pruning import PruningConfig
from vitseg.decoders.token_heads import TokenHeads, TokenHeadsConfig
from vitseg.losses.atm import AtmLoss, AtmLossConfig
from vitseg.losses.cross_entropy import PixelLoss, PixelLossConfig
from vitseg.methods.model import SegmentationModel
from vitseg.types import SegOutput, Size


class DtopConfig(BaseModel):
    """The sections of a DToP recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneConfig = Field(
        description="the plain ViT; tokens may leave behind its taps, and the last head reads the deepest of them"
    )
    pruning: PruningConfig = Field(default=PruningConfig(), description="which tokens leave")
    decoder: TokenHeadsConfig = Field(
        default=TokenHeadsConfig(), description="the heads at the exits, and the last"
    )
    loss: AtmLossConfig = Field(
        default=AtmLossConfig(), description="of the heads of kind atm, all alike"
    )
    pixel_loss: PixelLossConfig = Field(
        default=PixelLossConfig(), description="of the heads of kind fcn"
    )

    @model_validator(mode="after")
    def _consistent(self) -> DtopConfig:
        if self.loss.kind != "masks":
            raise ValueError(
                f'loss.kind is "{self.loss.kind}", but token heads are trained by "masks": leave it out'
            )
        return self


class DtopModel(SegmentationModel):
    """The ViT with exits, and their heads.

    `SegOutput.aux` holds the prediction at each exit, by its block: "exit_5". In evaluation an exit at which no token
    can leave has none: its head is not run.
    """

    @property
    def taps(self) -> tuple[int, ...]:
        """The blocks with an exit behind them, and the one that the last head reads."""
        return cast(PrunedViT, self.backbone).vit.config.taps

    @property
    def pruning(self) -> PruningConfig:
        """The rule; it can be replaced, for another threshold of a trained model."""
        return cast(PrunedViT, self.backbone).config

    @pruning.setter
    def pruning(self, config: PruningConfig) -> None:
        require_known_exits(config, len(cast(TokenHeads, self.decoder).exits))
        cast(PrunedViT, self.backbone).config = config

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> SegOutput:
        """Run the model on images of any size."""
        return self._run(images)[0]

    def _run(self, images: Tensor) -> tuple[SegOutput, list[AliveTokens]]:
        heads = cast(TokenHeads, self.decoder)
        exits: dict[str, SegOutput] = {}
        stages: list[AliveTokens] = []
        before: SegOutput | None = None  # of the last exit at which tokens could leave

        def read(number: int, alive: AliveTokens) -> Float[Tensor, "n k"]:
            nonlocal before
            output, probs = heads.read_exit(number, alive, before)
            exits[f"exit_{self.taps[number]}"] = output
            stages.append(alive)
            if self.pruning.acts_at(number):
                before = output
            return probs

        stages.append(self.backbone(images, read))
        return replace(heads(stages[-1], before), aux=exits), stages

    def exit_map(self, images: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b h w"]:
        """The exit at which the token of each cell left, from 0; the number of exits where it stayed to the end.

        Args:
            images: Normalised images of any height and width.
        """
        return self.with_exit_map(images)[1]

    @torch.no_grad()
    def with_exit_map(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[SegOutput, Int[Tensor, "b h w"]]:
        """The output and the exits of the tokens (see `exit_map`), of one run."""
        output, stages = self._run(images)
        height, width = stages[0].grid
        numbers = [
            number for number, block in enumerate(self.taps[:-1]) if f"exit_{block}" in output.aux
        ]
        first, *others = [*numbers, len(self.taps) - 1]
        num_cells = len(images) * height * width
        exits = torch.full((num_cells,), first, dtype=torch.long, device=images.device)
        for number, alive in zip(others, stages[1:], strict=True):
            exits[alive.tokens.rows(height * width)] = number
        return output, exits.view(len(images), height, width)


def build(
    config: DtopConfig, num_classes: int, image_size: Size, load_pretrained: bool = True
) -> DtopModel:
    """The model.

    Args:
        config: Its configuration.
        num_classes: Classes.
        image_size: Size of the training images in pixels.
        load_pretrained: False builds the architecture alone, for weights from a model directory.
    """
    vit = create_backbone(config.backbone, image_size, load_pretrained)
    return with_heads(cast(PlainViT, vit), config, num_classes)


def with_heads(vit: PlainViT, config: DtopConfig, num_classes: int) -> DtopModel:
    """The model on a ViT."""
    backbone = PrunedViT(vit, config.pruning)
    num_exits = len(vit.config.taps) - 1
    heads = TokenHeads(vit.embed_dim, num_exits, num_classes, config.decoder)
    return DtopModel(backbone, heads)


class DtopLoss(nn.Module):
    """Every head's loss: that of attention-to-mask models, or cross-entropy of its pixels.

    Args:
        config: The model's configuration.
        class_weights: (k,) weight of every class; None: all alike.
    """

    def __init__(self, config: DtopConfig, class_weights: Tensor | None = None):
        super().__init__()
        self.config = config
        self.losses = nn.ModuleDict(
            {
                "cell_presence": AtmLoss(config.loss, class_weights),
                "logits": PixelLoss(config.pixel_loss, class_weights),
            }
        )

    def forward(self, output: SegOutput, labels: Int[Tensor, "b H W"]) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss.

        Args:
            output: What the model returned.
            labels: Class indices or IGNORE_INDEX, at the size of the images.

        Returns:
            The terms of `AtmLoss` or of `PixelLoss`; those of an exit with its name appended.
        """
        same = {name: aux for name, aux in output.aux.items() if aux.readout == output.readout}
        terms = self.losses[output.readout](replace(output, aux=same), labels)
        for name, aux in output.aux.items():
            if name in same:
                continue
            # Of an exit alone, so that the weight of auxiliary outputs, a matter of "logits", is still to come.
            weight = (
                1.0 if aux.readout == "cell_presence" else self.config.pixel_loss.auxiliary_weight
            )
            for term, value in self.losses[aux.readout](replace(aux, aux={}), labels).items():
                terms[f"{term}_{name}"] = weight * value
        return terms


def build_loss(config: DtopConfig, class_weights: Tensor | None = None) -> DtopLoss:
    """The loss of a model's output; `class_weights` (k,) favours rare classes, None: all alike."""
    return DtopLoss(config, class_weights)
