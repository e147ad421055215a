"""`vitseg explain`."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from vitseg.cli import options
from vitseg.errors import ConfigError, DataError, unknown_name

if TYPE_CHECKING:
    from PIL import Image

    from vitseg.classes import ClassTable
    from vitseg.inference.explain import Explanation
    from vitseg.inference.explain_cells import CellExplanation
    from vitseg.inference.explain_exits import ExitExplanation
    from vitseg.inference.explain_tasks import TaskExplanation
    from vitseg.inference.predictor import Predictor

INDEX = "index.html"
DEFAULT_TOP = 5

HOW_TO_READ_EXITS = (
    "The model judges its tokens at every exit. Those that it is sure of leave: they are bright, and keep the masks "
    "that they had there. The dark ones go on. Below are the labels that the model would give at that point; the "
    "classes are judged anew by every head, so the labels of what has left may still change."
)

HOW_TO_READ_CELLS = (
    "Every square between white lines has a small network of its own, whose parameters the model generates from what "
    "it sees there and around. For each pixel the network reads the guidance, made of the fine features of the "
    "backbone (here its three main directions, as red, green and blue), and where in the square the pixel is "
    "(red: to the right, green: down), and answers with the scores of the classes."
)

HOW_TO_READ_TASKS = (
    "The model learnt its classes in several tasks, and a pixel belongs to the class that scores best of all tasks'. "
    "Bright pixels are claimed by the task; below are the labels that the model would give had it learnt nothing after "
    "it, which is what it gave before the next task was added."
)

HOW_TO_READ = (
    "Every class has a query. In each stage the query attends to the patches of the image, from the deepest features "
    "to the shallower ones, and its attention scores are its mask: bright where they speak for the class, dark where "
    "they speak against it. The scores of the stages are summed; layers of a single stage are not, and the last one's "
    "mask counts. This mask, times the probability that the class is present, is the score of the class (where a model "
    "mixes its queries, the others add a little to it); a pixel is labelled with the class that scores best."
)


def explain(
    model: options.Model,
    inputs: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or globs.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the sheets and index.html.")],
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="The classes to show.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Show this many: most pixels first, then most probable; else 5.", min=1),
    ] = None,
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace sheets that are already in --out.")
    ] = False,
) -> None:
    """Show how a model comes to its labels.

    Of SegViT and Shrunk, per class its probability and every stage's mask; of a pruned model, where its tokens left; of
    NRD, its cells and what their networks read; of a model that was extended, which task claims which pixel.
    Images are run whole, in one view. An image that cannot be read is reported and left out; the exit code is then 2.
    """
    from rich.console import Console
    from rich.progress import track

    from vitseg.cli.inputs import find_inputs
    from vitseg.inference.predictor import load
    from vitseg.render.page_parts import write_page
    from vitseg.render.palette import save_whole

    if classes is not None and top is not None:
        raise ConfigError("--classes names the classes to show and --top counts them: give one.")
    targets = find_inputs(inputs)
    _check_out(out, targets, overwrite)
    predictor = load(model, device)
    draw, how_to_read = _drawing(predictor, classes, top)
    sections = [f"<p>{escape(how_to_read)}</p>"]
    console = Console(stderr=True)
    failures = 0
    for path, name in track(targets, "explain", console=console, disable=not console.is_terminal):
        try:
            sheet = draw(path)
        except DataError as error:
            failures += 1
            line = f"DataError: {error}"
            console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
            continue
        save_whole(out / f"{name}.png", sheet)
        sections.append(_section(path, name))
    if failures < len(targets):
        write_page(out / INDEX, f"How {model} labels", sections)
    typer.echo(f"{len(targets) - failures} of {len(targets)} images -> {out / INDEX}")
    if failures:
        raise typer.Exit(2)


def _drawing(
    predictor: Predictor, classes: str | None, top: int | None
) -> tuple[Callable[[Path], Image.Image], str]:
    """What draws the sheet of a photo, and how to read it."""
    from vitseg.decoders.nrd import NrdDecoder
    from vitseg.decoders.task_decoders import TaskDecoders
    from vitseg.inference.explain import explain as explain_image
    from vitseg.inference.explain import require_stages
    from vitseg.inference.explain_cells import explain_cells
    from vitseg.inference.explain_exits import explain_exits, require_exits
    from vitseg.inference.explain_tasks import explain_tasks
    from vitseg.methods.dtop import DtopModel

    prunes = isinstance(predictor.model, DtopModel)
    has_cells = isinstance(predictor.model.decoder, NrdDecoder)
    has_tasks = isinstance(predictor.model.decoder, TaskDecoders)
    if (prunes or has_cells or has_tasks) and (classes is not None or top is not None):
        kind = "a pruned model" if prunes else "NRD" if has_cells else "a model of several tasks"
        raise ConfigError(
            f"--classes and --top choose the masks of a SegViT; of {kind} there is one sheet with all classes: leave "
            "them out."
        )
    if prunes:
        require_exits(predictor)
        return lambda path: draw_exits(explain_exits(predictor, path)), HOW_TO_READ_EXITS
    if has_cells:
        return lambda path: draw_cells(explain_cells(predictor, path)), HOW_TO_READ_CELLS
    if has_tasks:
        return lambda path: draw_tasks(explain_tasks(predictor, path)), HOW_TO_READ_TASKS
    require_stages(predictor)
    chosen = None if classes is None else find_classes(classes, predictor.classes)

    def draw(path: Path) -> Image.Image:
        explanation = explain_image(predictor, path)
        return draw_sheet(explanation, chosen or explanation.strongest(top or DEFAULT_TOP))

    return draw, HOW_TO_READ


def _check_out(out: Path, targets: list[tuple[Path, str]], overwrite: bool) -> None:
    """Raise ConfigError where a file would be replaced: an image of the input never is, others if asked."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: give a folder.")
    images = {path.resolve() for path, _ in targets}
    for name in (INDEX, *(f"{name}.png" for _, name in targets)):
        if (out / name).resolve() in images:
            raise ConfigError(
                f"--out {out} holds the image {name} itself, which its sheet would replace: give another folder."
            )
        if (out / name).exists() and not overwrite:
            raise ConfigError(
                f"--out {out} has {name} already: give a new folder, or pass --overwrite. Nothing was changed."
            )


def find_classes(text: str, table: ClassTable) -> list[int]:
    """Indices of the classes in "road, tree".

    Raises:
        ConfigError: A name that the model does not know.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--classes {text!r} names no class: for example --classes road,tree.")
    for name in names:
        if name not in table.names:
            raise ConfigError(f"--classes: {unknown_name('class', name, table.names)}")
    return [table.names.index(name) for name in names]


def draw_sheet(explanation: Explanation, class_indices: list[int]) -> Image.Image:
    """The sheet of one image."""
    from vitseg.render.explain import ClassMasks, explanation_sheet

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
        for k in class_indices
    )
    overlay = found.overlay(legend=False)
    return explanation_sheet(found.image, overlay, [column.name for column in columns], rows)


def draw_exits(explanation: ExitExplanation) -> Image.Image:
    """The sheet of one image of a pruned model."""
    from dataclasses import replace

    from vitseg.render.stages import StagePictures, stages_sheet

    found = explanation.segmentation
    columns = [
        StagePictures(
            title=stage.name,
            note=f"{stage.alive_share:.0%} of the tokens {'stayed' if last else 'go on'}",
            settled=stage.left,
            overlay=replace(found, label_map=stage.label_map).overlay(legend=False),
        )
        for stage, last in (
            (stage, stage is explanation.stages[-1]) for stage in explanation.stages
        )
    ]
    return stages_sheet(found.image, columns)


def draw_tasks(explanation: TaskExplanation) -> Image.Image:
    """The sheet of one image of a model of several tasks."""
    from dataclasses import replace

    from vitseg.errors import first_names
    from vitseg.render.stages import StagePictures, stages_sheet

    found = explanation.segmentation
    columns = [
        StagePictures(
            title=f"task {number}: {first_names(claim.classes)}",
            note=f"claims {claim.share:.1%}",
            settled=claim.claimed,
            overlay=replace(found, label_map=claim.label_map).overlay(legend=False),
        )
        for number, claim in enumerate(explanation.claims)
    ]
    return stages_sheet(found.image, columns)


def draw_cells(explanation: CellExplanation) -> Image.Image:
    """The sheet of one image of an NRD model."""
    import numpy as np

    from vitseg.render.cells import CellPicture, cells_sheet

    found, (height, width) = explanation.segmentation, explanation.input_size
    covered = explanation.padded_size

    def cut(colors: np.ndarray) -> np.ndarray:  # to what lies on the image
        rows = round(height * colors.shape[0] / covered[0])
        columns = round(width * colors.shape[1] / covered[1])
        return np.rint(255 * colors[: max(1, rows), : max(1, columns)]).astype(np.uint8)

    pictures = [CellPicture("image", found.image)]
    if explanation.guidance is not None:
        pictures.append(CellPicture("guidance", cut(explanation.guidance)))
    if explanation.coordinates is not None:
        pictures.append(CellPicture("coordinates", cut(explanation.coordinates), is_smooth=False))
    overlay = np.asarray(found.overlay(legend=False))
    return cells_sheet(
        [*pictures, CellPicture("labels", overlay)], (height, width), explanation.cell
    )


def _section(path: Path, name: str) -> str:
    source = quote(f"{name}.png")
    return (
        f'<figure><a href="{source}"><img src="{source}" loading="lazy" alt="Masks of {escape(name)}"></a>'
        f"<figcaption>{escape(str(path))}</figcaption></figure>"
    )
