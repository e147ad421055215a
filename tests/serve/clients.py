"""Clients of a server in another process, which know what each image has to give."""

from __future__ import annotations

import io
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import numpy as np
from PIL import Image

import vitseg
from tests.tiny import photo

SIZE = (96, 128)
TRIES = 200


@dataclass
class Marked:
    """An image, and the labels that a model gives it."""

    content: bytes
    labels: np.ndarray


@dataclass
class Seen:
    """What a client saw: all statuses that it got, and which of its answers were of another image."""

    statuses: list[int] = field(default_factory=list)
    answers: int = 0
    wrong: list[int] = field(default_factory=list)


def marked_images(model: Path, count: int) -> list[Marked]:
    """Images of one size whose labels differ by far."""
    predictor = vitseg.load(model, "cpu")
    images = []
    for seed in range(10 * count):
        pixels = photo(*SIZE, seed)
        labels = predictor(pixels).label_map
        if all((labels != other.labels).mean() > 0.2 for other in images):
            images.append(Marked(png(pixels), labels))
        if len(images) == count:
            return images
    raise AssertionError("this model gives most images the same labels")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ask(url: str, content: bytes, seconds: float = 60.0) -> tuple[int, bytes, Message]:
    """One request; status 0: the connection broke."""
    request = urllib.request.Request(
        f"{url}/v1/segment", content, {"Content-Type": "application/octet-stream"}
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers
    except OSError:
        return 0, b"", Message()


def ask_until_answered(url: str, images: list[Marked], own: list[int], seen: Seen) -> Seen:
    """Send images one after the other; one that is refused is sent again."""
    for index in own:
        for _ in range(TRIES):
            status, content, _ = ask(url, images[index].content)
            seen.statuses.append(status)
            if status == 200:
                break
            time.sleep(0.1)
        else:
            continue
        seen.answers += 1
        labels = np.array(Image.open(io.BytesIO(content)))
        # rounding within a batch may turn single pixels, other images a fifth of them
        if (labels != images[index].labels).mean() > 0.02:
            seen.wrong.append(index)
    return seen


def in_parallel(
    url: str, images: list[Marked], clients: int, each: int
) -> tuple[list[Seen], ThreadPoolExecutor, list]:
    """Start clients that send so many images each; what they saw fills while they do."""
    seen = [Seen() for _ in range(clients)]
    pool = ThreadPoolExecutor(clients)
    running = [
        pool.submit(
            ask_until_answered,
            url,
            images,
            [(number * each + index) % len(images) for index in range(each)],
            seen[number],
        )
        for number in range(clients)
    ]
    return seen, pool, running
