"""How a model with a query for every class comes to its labels: the masks of every stage.

Source: SegViT (NeurIPS 2022), section 3: the attention scores of a class query over the image's patches are its mask;
the scores of the stages are summed. Where class queries go through the backbone's last blocks (`segvit_joint`, ours),
a stage is what they say in front of such a block or behind the last one, and nothing is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from PIL import Image
from torch import Tensor, nn

from vitseg.backbones.steps.joint_queries import all_shown
from vitseg.decoders.atm import AtmDecoder
from vitseg.decoders.eomt import JointDecoder
from vitseg.errors import ConfigError
from vitseg.explain.sheet import Sheet
from vitseg.explain.table import require
from vitseg.explain.view import View
from vitseg.inference.image_source import ImageSource
from vitseg.inference.predictor import Predictor
from vitseg.inference.segmentation import Segmentation
from vitseg.layers.resize import resize_map
from vitseg.outputs import QueryMasks
from vitseg.render.explain import ClassMasks, explanation_sheet
from vitseg.types import Size

HOW_TO_READ = (
    "Every class has a query. In each stage the query attends to the patches of the image, from the deepest features "
    "to the shallower ones, and its attention scores are its mask: bright where they speak for the class, dark where "
    "they speak against it. The scores of the stages are summed; layers of a single stage are not, and the last one's "
    "mask counts. This mask, times the probability that the class is present, is the score of the class (where a model "
    "mixes its queries, the others add a little to it); a pixel is labelled with the class that scores best."
)

HOW_TO_READ_JOINT = (
    "Every class has a query, which goes through the last blocks of the backbone beside the patches of the image. It "
    "is read in front of each of these blocks, and behind the last one: its mask is how well it agrees with the "
    "patches, bright where it speaks for the class, dark where it speaks against it. At the first reading it has seen "
    "nothing of the image yet. The last one counts: its mask, times the probability that the class is present, is the "
    "score of the class (where a model mixes its queries, the others add a little to it); a pixel is labelled with the "
    "class that scores best."
)

DEFAULT_TOP = 5
"""Classes that a sheet shows where nobody says which."""


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
class StageExplanation:
    """An image's segmentation and the masks from which it was made.

    Attributes:
        segmentation: The labels, at the image's own size.
        stages: In the order of the cascade: deepest features first.
        summed: The sum over the stages, which is the model's mask; None where the last stage's mask is it: a single
            stage, or layers or blocks that are not summed.
        output: What the model gave.
        how_to_read: What a sheet of it shows, in plain words.
    """

    segmentation: Segmentation
    stages: tuple[Stage, ...]
    summed: Stage | None
    output: QueryMasks
    how_to_read: str

    @property
    def input_size(self) -> Size:
        """(height, width) at which the image was run."""
        return self.output.input_size

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
        logits = stage.mask_logits[class_index][None, None]
        return self.output.at_pixels(logits)[0, 0].sigmoid().cpu().numpy()

    def mask_of_image(self, stage: Stage, class_index: int) -> Float32[np.ndarray, "H W"]:
        """The same at the image's own size."""
        mask = torch.from_numpy(self.mask(stage, class_index))[None, None]
        return resize_map(mask, self.segmentation.size)[0, 0].numpy()

    def strongest(self, count: int) -> list[int]:
        """Classes to look at first: those with most pixels, then the most probable of the others."""
        areas = self.segmentation.class_areas
        names, probabilities = self.segmentation.classes.names, self.probabilities
        order = sorted(
            range(len(names)), key=lambda k: (areas.get(names[k], 0.0), probabilities[k])
        )
        return order[::-1][:count]


def explain(
    predictor: Predictor,
    image: ImageSource,
    classes: Sequence[int] | None = None,
    top: int = DEFAULT_TOP,
) -> Sheet:
    """Run a model with class queries on one image and draw the masks of some classes; see `read_stages`.

    Args:
        predictor: A model of a method whose explainer is "stages".
        image: See `Predictor`.
        classes: Indices of the classes to draw; None: the strongest.
        top: How many of them.
    """
    found = read_stages(predictor, image)
    shown = found.strongest(top) if classes is None else classes
    return Sheet(draw_stages(found, shown), found.how_to_read)


@torch.inference_mode()
def read_stages(predictor: Predictor, image: ImageSource) -> StageExplanation:
    """Run a model with class queries on one image, whole and in one view, and keep what every stage of it says.

    Args:
        predictor: A model of a method whose explainer is "stages".
        image: See `Predictor`.

    Raises:
        ConfigError: The method has no stages, or its class queries have no probabilities.
        DataError: The image cannot be read, or would be run far beyond its own size.
        VitsegError: The model's scores are NaN or infinite.
    """
    require(predictor, "stages")
    view = View.of(predictor, image)
    predictor.network.eval()
    with all_shown(predictor.network):
        output = predictor.run(view.images)
    if not isinstance(output, QueryMasks):
        raise ConfigError(
            f"explain shows the probability of every class, but this model ({predictor.record.method}) has only masks. "
            "Study it with evaluate or predict."
        )
    form = _form(predictor.network)
    stages, summed = _stages(output, form)
    labels = view.labels(output)
    return StageExplanation(view.segmentation(labels), stages, summed, output, form.how_to_read)


class _Form(NamedTuple):
    """Of a model's stages.

    Attributes:
        word: What a stage is called.
        is_summed: Whether the masks of a stage hold those of the stages before it.
        how_to_read: See `StageExplanation`.
    """

    word: str
    is_summed: bool
    how_to_read: str


def _form(model: nn.Module) -> _Form:
    for module in model.modules():
        if isinstance(module, JointDecoder):
            return _Form("reading", False, HOW_TO_READ_JOINT)
        if isinstance(module, AtmDecoder) and module.config.supervise != "stages":
            return _Form("layer", False, HOW_TO_READ)
    return _Form("stage", True, HOW_TO_READ)


def _stages(output: QueryMasks, form: _Form) -> tuple[tuple[Stage, ...], Stage | None]:
    """Every stage alone, and their sum; the outputs of a cascade hold the sum so far."""
    outputs = [*output.stages, output]
    stages = []
    before: Tensor | float = 0.0
    for number, entry in enumerate(outputs, start=1):
        assert isinstance(entry, QueryMasks)
        masks = entry.mask_logits[0].float()
        stages.append(Stage(f"{form.word} {number}", masks - before, entry.presence()[0]))
        if form.is_summed:
            before = masks
    if not form.is_summed or len(stages) == 1:
        return tuple(stages), None
    summed = Stage("sum = the mask", output.mask_logits[0].float(), output.presence()[0])
    return tuple(stages), summed


def draw_stages(explanation: StageExplanation, classes: Sequence[int]) -> Image.Image:
    """The sheet of one image.

    Args:
        explanation: What there is to see.
        classes: Indices of the classes to draw, in the order in which they are to be seen.
    """
    found, columns = explanation.segmentation, explanation.columns
    areas, table = found.class_areas, found.classes
    rows = (  # one at a time: the masks of a large photo are large, too
        ClassMasks(
            name=table.names[k],
            color=table.palette[k],
            probability=explanation.probabilities[k],
            area=areas.get(table.names[k], 0.0),
            masks=[explanation.mask(column, k) for column in columns],
            notes=[f"present: {float(column.probabilities[k]):.1%}" for column in columns],
            region=found.label_map == k,
        )
        for k in classes
    )
    overlay = found.overlay(legend=False)
    return explanation_sheet(found.image, overlay, [column.name for column in columns], rows)
