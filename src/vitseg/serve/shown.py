"""A view of a model, as the answer to a request."""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from vitseg.serve.masks import png_text
from vitseg.serve.service import Computed


def encode_view(computed: Computed) -> bytes:
    """The answer to a request for a view, as JSON."""
    view = computed.result.view
    assert view is not None
    height, width = view.pictures[0].shape
    facts: dict[str, Any] = {
        "model": computed.served.name,
        "width": width,
        "height": height,
        "view": view.view,
    }
    pictures = [png_text(Image.fromarray(picture)) for picture in view.pictures]
    if view.class_index is None:
        facts |= {"names": list(view.names), "png": pictures[0]}
    else:
        pairs = zip(view.names, pictures, strict=True)
        facts |= {
            "class": computed.served.classes.names[view.class_index],
            "probability": view.probability,
            "stages": [{"name": name, "png": png} for name, png in pairs],
        }
    return json.dumps(facts).encode()
