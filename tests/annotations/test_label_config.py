from __future__ import annotations

import pytest

from vitseg.annotations.label_config import LARGEST, BrushControl, read_brush_control
from vitseg.errors import ConfigError

BOMB = """<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i"><Label value="&b;"/></BrushLabels></View>"""


def test_the_first_brush_labels_on_an_image_count():
    text = """<View><Header value="Paint"/>
      <BrushLabels name="early" toName="photo"><Label value="road"/><View><Label value="tree"/></View>
        <Label value="road"/><Label/></BrushLabels>
      <Image name="photo" value="$url"/>
      <RectangleLabels name="boxes" toName="photo"><Label value="car"/></RectangleLabels>
      <BrushLabels name="late" toName="photo"><Label value="sky"/></BrushLabels></View>"""
    assert read_brush_control(text) == BrushControl("early", "photo", "url", ("road", "tree"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no readable XML"),
        ("<View>", "no readable XML"),
        (BOMB, "document type"),
        ('<!DOCTYPE v SYSTEM "file:///etc/passwd"><v/>', "document type"),
        ("<View>" * 60, "50 deep"),
        ("<v>" + "<a/>" * 30_000 + "</v>", "20,000 tags"),
        ("<v>" + " " * LARGEST, "at most 1,000,000"),
        ("<View><Image name='i' value='$i'/></View>", "no <BrushLabels>"),
        (
            "<View><Image name='i' value='http://a/b.png'/><BrushLabels name='b' toName='i'>"
            "<Label value='x'/></BrushLabels></View>",
            "no <BrushLabels>",
        ),
        ("<v>&undeclared;</v>", "no readable XML"),
    ],
)
def test_what_is_hostile_or_lacks_labels_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        read_brush_control(text)
