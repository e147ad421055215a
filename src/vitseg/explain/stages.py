"""How an attention-to-mask model comes to its labels: the masks of every stage of its cascade.

Source: SegViT (NeurIPS 2022), section 3: the attention scores of a class query over the image's patches are its mask;
the scores of the stages are summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vitseg.decoders.atm import AtmDecoder
from vitseg.decoders.query_upsampling import ShrunkDecoder
from vitseg.errors import ConfigError
from vitseg.inference.predictor import ImageSource, Predictor, as_rgb
from vitseg.inference.scores import OutputScores, label_map, resized, upsample_rows
from vitseg.types import Segmentation, SegOutput, Size


@dataclass(frozen=True)
class Stage:
    """What one stage of the cascade says of every class, before anything is summed.

    Attributes:
        name: For people: which stage or layer.
        mask_logits: Attention scores of the class queries over the token grid, of this stage alone.
        probabilities: Probability that the class is there, after this stage.
    """

    name: str
    mask_logits: Float[Tensor, "k h w"]
    probabilities: Float[Tensor, " k"]


@dataclass(frozen=True)
class Explanation:
    """An image's segmentation and the masks from which it was made.

    Attributes:
        segmentation: The labels, at the image's own size.
        stages: In the order of the cascade: deepest features first.
        summed: The sum over the stages, which is the model's mask; None where the last stage's mask is it: a single
            stage, or layers that are not summed.
        input_size: (height, width) at which the image was run.
        padded_size: What the token grid covers; padding is below and on the right.
    """

    segmentation: Segmentation
    stages: tuple[Stage, ...]
    summed: Stage | None
    input_size: Size
    padded_size: Size

    @property
    def columns(self) -> tuple[Stage, ...]:
        """The stages, and their sum where there is one."""
        return self.stages if self.summed is None else (*self.stages, self.summed)

    @property
    def probabilities(self) -> list[float]:
        """Of every class, the model's probability that it is in the image."""
        return self.columns[-1].probabilities.tolist()

    def mask(self, stage: Stage, class_index: int) -> Float32[np.ndarray, "H W"]:
        """A stage's mask of a class at `input_size`: the sigmoid of its scores, in [0, 1].

        At 0.5 the stage says nothing; below, it speaks against the class.
        """
        height, width = self.input_size
        logits = stage.mask_logits[class_index][None, None]
        rows = upsample_rows(logits, self.padded_size, 0, height)[..., :width]
        return rows[0, 0].sigmoid().cpu().numpy()

    def strongest(self, count: int) -> list[int]:
        """Classes to look at first: those with most pixels, then the most probable of the others."""
        areas = self.segmentation.class_areas
        names, probabilities = self.segmentation.classes.names, self.probabilities
        order = sorted(
            range(len(names)), key=lambda k: (areas.get(names[k], 0.0), probabilities[k])
        )
        return order[::-1][:count]


def require_stages(predictor: Predictor) -> AtmDecoder:
    """The attention-to-mask decoder of a model.

    Raises:
        ConfigError: The model has another decoder.
    """
    decoder = predictor.model.decoder
    if isinstance(decoder, ShrunkDecoder):
        decoder = decoder.atm
    if not isinstance(decoder, AtmDecoder):
        raise ConfigError(
            "explain shows the attention masks of SegViT models, Shrunk too, stage by stage, the exits of pruned ones "
            f"(dtop) and the cells of nrd, but this model ({predictor.record.method}) decodes with "
            f"{type(decoder).__name__}, which has none of them. Study it with evaluate or predict."
        )
    return decoder


@torch.inference_mode()
def explain(predictor: Predictor, source: ImageSource) -> Explanation:
    """Run a model on one image and keep what every stage of its cascade says.

    The image is run in one piece and one view, at the size of the model's protocol: where that has sliding windows or
    several views, the labels may differ a little from those of a prediction.

    Args:
        predictor: An attention-to-mask model.
        source: See `Predictor`.

    Raises:
        ConfigError: The model has no attention-to-mask decoder, or its class queries have no probabilities.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    decoder = require_stages(predictor)
    image = as_rgb(source)
    size = image.shape[0], image.shape[1]
    images = predictor.model_input(image, predictor.inference.input_size(size))
    output = predictor.model.eval()(images)
    if output.class_logits is None:
        raise ConfigError(
            f"explain shows the probability of every class, but this model ({predictor.record.method}) has only masks. "
            "Study it with evaluate or predict."
        )
    labels = label_map(resized(OutputScores(output), size))
    path = Path(source) if isinstance(source, (str, Path)) else None
    stages, summed = _stages(output, decoder.config.supervise == "stages")
    return Explanation(
        Segmentation(label_map=labels, classes=predictor.classes, image=image, path=path),
        stages,
        summed,
        output.input_size,
        output.padded_size,
    )


def _stages(output: SegOutput, cascade: bool) -> tuple[tuple[Stage, ...], Stage | None]:
    """Every stage alone, and their sum; the outputs of a cascade hold the sum so far.

    `AtmDecoder` numbers its stages; what else there is in `aux` belongs to other parts, as the edges of a backbone.
    """
    outputs = [*(entry for name, entry in output.aux.items() if name.isdecimal()), output]
    stages = []
    before: Tensor | float = 0.0
    for number, entry in enumerate(outputs, start=1):
        masks = entry.mask_logits[0].float()
        name = f"stage {number}" if cascade else f"layer {number}"
        stages.append(Stage(name, masks - before, _presence(entry)))
        if cascade:
            before = masks
    if not cascade or len(stages) == 1:
        return tuple(stages), None
    summed = Stage("sum = the mask", output.mask_logits[0].float(), _presence(output))
    return tuple(stages), summed


def _presence(output: SegOutput) -> Float[Tensor, " k"]:
    """Probability that each class is there, by its own query: query k is trained on class k."""
    assert output.class_logits is not None
    probs = output.class_logits[0].float().softmax(-1)
    return probs.diagonal() if output.readout == "mixing" else probs[:, 0]
