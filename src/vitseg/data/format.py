"""What a data format is: one object that names, recognises and opens data sets of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from vitseg.data.class_choices import chosen_by_class_files
from vitseg.data.class_file_places import find_class_file, pose_of_folder
from vitseg.data.dataset import SegmentationDataset
from vitseg.data.labels import LabelTable
from vitseg.data.left_out import class_files
from vitseg.data.mask_pose import MaskPose
from vitseg.errors import ConfigError


class DataFormat(ABC):
    """A kind of data set, as `NAME:ROOT` names it: your own files in some layout, or one published data set.

    A new format is a file with a subclass of this, and its line in the table of `catalog`.

    Attributes:
        name: Name of the format in `NAME:ROOT`, and of every data set that it opens.
        summary: What it is, in a few words.
    """

    name: str
    summary: str

    @abstractmethod
    def open(self, root: Any, split: str) -> SegmentationDataset:
        """One split of the data set below a root.

        Args:
            root: What `parse_root` returns.
            split: Name of the split, or an alias of it ("val" for "validation"), see `splits.choose_split`.

        Raises:
            DataError: The root is not in this format or has no such split. What is wrong with single files raises
                nothing: it becomes one of the data set's findings.
        """

    def open_placed(self, root: Any, split: str) -> SegmentationDataset:
        """As `open`, with what class files say of masks and classes beside those that name the classes.

        Masks are placed on their images as `mask_pose` says, and classes merged, ignored and coloured.

        Raises:
            DataError: As for `open`, or a class file is malformed.
        """
        dataset = self.open(root, split).with_mask_pose(self.mask_pose(root))
        if not isinstance(root, Path):
            return dataset
        dataset = dataset.with_labels(self.chosen_classes(dataset.labels, root))
        if not root.is_dir():
            return dataset
        return dataset.with_findings(class_files(dataset, root, self.class_file(root)))

    def class_file(self, root: Path) -> Path | None:
        """The class file that names the classes: that of the folder, unless overridden; None: annotations do.

        Raises:
            DataError: The class files of two splits differ.
        """
        return find_class_file(root)

    def chosen_classes(self, labels: LabelTable, root: Path) -> LabelTable:
        """The table by what class files say that do not name its classes, unless overridden.

        Raises:
            DataError: A class file is malformed, or the class files of two splits differ.
        """
        return chosen_by_class_files(labels, root, self.class_file(root))

    def mask_pose(self, root: Any) -> MaskPose:
        """How the masks below a root lie where an image has an orientation tag: by its class files, unless overridden.

        Raises:
            DataError: A file gives a value that is not known.
        """
        return pose_of_folder(root) if isinstance(root, Path) else "upright"

    @abstractmethod
    def splits(self, root: Any) -> tuple[str, ...]:
        """Names of the splits below a root.

        Raises:
            DataError: The root is not in this format.
        """

    def looks_like(self, root: Path) -> str | None:
        """What speaks for a folder being in this format, in words ("the names in data.yaml"); None: nothing does.

        A format that is never guessed, but always named, leaves this as it is.

        Args:
            root: An existing folder.

        Raises:
            DataError: The folder is in this format, but cannot be opened as it is: the message says what to mend.
        """
        return None

    def parse_root(self, text: str) -> Any:
        """The root that `open` and `splits` take, from the text behind the colon: a folder, unless overridden.

        Raises:
            ConfigError: The text is malformed.
        """
        return home_expanded(text)


def home_expanded(text: str) -> Path:
    """A path as it was written, with `~` for one's home folder.

    A shell does not expand the `~` of `folder:~/data`.

    Raises:
        ConfigError: There is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{text} begins with a home folder that is not known: write the whole path."
        ) from error
