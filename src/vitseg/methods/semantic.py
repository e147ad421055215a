"""The loss of SeMask's semantic layers, in methods whose backbone has them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import nn

from vitseg.config import given_fields
from vitseg.methods.method import ClassWeights, MethodConfig
from vitseg.outputs import SEMANTIC


class SemanticMethod(MethodConfig):
    """A method with semantic layers, whose summed maps have a cross-entropy of their own."""

    semantic: Any  # of a subclass: the section of the layers, or None
    semantic_weight: float = Field(
        default=0.4,
        ge=0,
        description="with semantic: weight of the cross-entropy of the summed semantic maps",
    )

    @model_validator(mode="after")
    def _weight_belongs_to_semantic(self) -> SemanticMethod:
        if self.semantic is None and "semantic_weight" in given_fields(self):
            raise ValueError(
                "semantic_weight belongs to semantic: set it, as {} where no field is needed, or leave both out"
            )
        return self

    def extra_losses(self, class_weights: ClassWeights | None) -> dict[str, nn.Module]:
        from vitseg.losses.extras import SemanticLoss

        if self.semantic is None:
            return {}
        return {SEMANTIC: SemanticLoss(self.semantic_weight, class_weights)}
