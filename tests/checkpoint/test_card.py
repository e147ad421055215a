from __future__ import annotations

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.tiny import make_record
from vitseg.backbones.licences import is_non_commercial
from vitseg.checkpoint.card import model_card
from vitseg.checkpoint.protocols import SEGVIT


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_says_what_the_model_is():
    record = make_record(
        inference={"mode": "whole", "resize": [2048, 512]},
        recipe={"method": "segvit", "training": {"iterations": 3}},
        metrics={"miou": 0.51234, "macc": 0.6, "aacc": None, "dataset": "camvid", "split": "val"},
    )
    card = model_card(record, "user/streets", "apache-2.0")
    assert front_matter(card) == {
        "license": "apache-2.0",
        "library_name": "vitseg",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "segvit"],
        "datasets": ["camvid"],
        "metrics": ["mean_iou"],
    }
    assert "# streets\n" in card
    assert "segvit on `test_vit`: 3 classes, trained on images of 64 x 64 pixels" in card
    assert "vitseg predict hf://user/streets photo.jpg" in card
    assert "## Scores on camvid val (percent)" in card
    assert "| mIoU | 51.23 |" in card
    assert "pixel accuracy" not in card  # it is undefined
    assert "- `resize`: [2048, 512]" in card
    assert "iterations: 3" in card
    assert "sky, road, tree." in card
    assert "Non-commercial" not in card
    assert card.count("\n---\n") == 1


def test_the_hub_reads_the_front_matter():
    data = ModelCard(model_card(make_record(), "user/name", SEGVIT.license)).data.to_dict()
    assert data["license"] == "other"
    assert data["library_name"] == "vitseg"


def test_a_card_without_scores_and_recipe():
    card = model_card(make_record(), "user/name", "mit")
    assert "## Scores" not in card
    assert "## Training" not in card
    assert "metrics" not in front_matter(card)


def test_folders_of_ones_own_are_no_data_sets():
    card = model_card(make_record(metrics={"dataset": "folder", "miou": 0.5}), "user/name", "mit")
    assert "datasets" not in front_matter(card)


@pytest.mark.parametrize(
    ("backbone", "at_the_end", "at_the_top"),
    [
        ({"name": "vit_small_patch16_lingbot"}, "vit_small_patch16_lingbot: apache-2.0, as timm states.", False),
        ({"name": "vit_base_patch16_224.mae"}, "vit_base_patch16_224.mae: cc-by-nc-4.0, as timm states: no com", True),
        ({"name": "mit_b0", "levels": [0]}, "mit_b0: timm states no licence, see their model card.", False),
        ({"name": "vit_base_patch16_224.mae", "weights": "x.pth"}, None, False),
        ({"name": "vit_base_patch16_224.mae", "pretrained": False}, None, False),
    ],
)  # fmt: skip
def test_a_card_names_the_licence_of_the_pretrained_weights(backbone, at_the_end, at_the_top):
    card = model_card(make_record(architecture={"backbone": backbone}), "user/name", "mit")
    last = card.rstrip().splitlines()[-1]
    if at_the_end is None:
        assert last == "mit"
    else:
        assert last.startswith(f"They were trained from pretrained weights {at_the_end}")
    warned = card.startswith("> **Trained from weights for non-commercial use:**", card.find("> "))
    assert warned is at_the_top
    assert front_matter(card)["license"] == "mit"


def test_non_commercial_licences_stand_at_the_top():
    record = make_record(metrics={"converted_from": "ade_51.3.pth", "trained_on": "ade20k"})
    card = model_card(record, "user/segvit", SEGVIT.license)
    front = front_matter(card)
    assert front["license"] == "other"
    assert front["license_name"] == "segvit-published-weights-non-commercial-use-only"
    assert front["datasets"] == ["ade20k"]
    body = card.split("---\n", 2)[2].strip().splitlines()
    assert body[0] == "# segvit"
    assert body[2].startswith("> **Non-commercial use only.** SegViT's published weights")
    assert "Converted from `ade_51.3.pth`" in card
    assert card.rstrip().endswith(SEGVIT.license)


@pytest.mark.parametrize(
    ("text", "identifier", "restricted"),
    [
        ("apache-2.0", "apache-2.0", False),
        ("Apache 2.0", "apache-2.0", False),
        ("MIT", "mit", False),
        ("CC BY-NC 4.0", "cc-by-nc-4.0", True),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", True),
        ("cc-by-4.0", "cc-by-4.0", False),
        ("for research use only", "other", True),
        ("noncommercial", "other", True),
        ("Not for commercial use", "other", True),
        ("own licence, ask the city", "other", False),
        ("commercial use allowed", "other", False),
        ("incorporated", "other", False),
    ],
)
def test_licences_are_recognised(text, identifier, restricted):
    assert front_matter(model_card(make_record(), "a/b", text))["license"] == identifier
    assert is_non_commercial(text) is restricted
