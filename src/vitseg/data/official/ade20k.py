"""ADE20K in the SceneParse150 form (ADEChallengeData2016): 150 classes, 20,210 training and 2,000 validation images.

Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; names and ids of `objectInfo150.txt`, of each
entry the first name ("television receiver" as usual). The colours are the 150 of the authors' code, of which
"road" and "skyscraper" share one.
"""

from __future__ import annotations

from pathlib import Path

from vitseg.data.official.layout import find_home, require_splits, splits_by_folder
from vitseg.data.official.published import Published
from vitseg.data.splits import Folders


class Ade20k(Published):
    """ADEChallengeData2016, as the zip unpacks; pixels of the id 0 (other) are ignored.

    The root is the folder with `images/` and `annotations/`, each with `training/` and `validation/`, or the one above
    it. "train" and "val" stand for these two splits, too.
    """

    name = "ade20k"
    summary = "ADE20K (SceneParse150), 150 classes"
    hint = (
        "The official annotations hold 0 (other) and 1-150 (wall is 1). Were these maps reduced already (wall is 0, "
        "255 is ignored)? Then take the original ones, or open them as index:FOLDER with a class file."
    )

    def folders(self, root: Path) -> dict[str, Folders]:
        home = find_home(root, self.name, ("images", "annotations"), ("ADEChallengeData2016",))
        images, masks = home / "images", home / "annotations"
        splits = splits_by_folder(images, masks, ("training", "validation"))
        expected = f"training/ or validation/, both in {images} and in {masks}"
        require_splits(splits, self.name, expected)
        return splits
