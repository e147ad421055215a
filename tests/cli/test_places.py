"""What needs no model is checked before torch is imported, which takes up to half a minute."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.tiny import photo, write_dataset, write_recipe
from vitseg.cli.app import VERBS

WITHOUT_TORCH = """
import contextlib, io, json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise RuntimeError("torch is imported")

sys.meta_path.insert(0, Blocked())
from vitseg.cli.main import run

results = []
for words in json.load(sys.stdin):
    sys.argv = ["vitseg", *words]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            run()
            code = 0
        except SystemExit as end:
            code = end.code
    results.append([code, said.getvalue()])
json.dump(results, sys.stdout)
"""
"""Runs one command after the other, in a process in which nobody can import torch."""

DATA = "--data folder:data"
REFUSED = {
    "predict none photo.png --out o": "CheckpointError: none does not exist",
    "predict MODEL photo --out o": "DataError: photo is no file",
    "predict MODEL photo.png --out photo.png": "ConfigError: --out photo.png is a file",
    "predict MODEL photo.png --out o --tiles --max-memory some": "memory 'some'",
    "predict MODEL photo.png --out o --blend cosin": "Did you mean 'cosine'?",
    "export none --out a.onnx": "CheckpointError: none does not exist",
    "predict none.onnx photo.png --out o": "CheckpointError: none.onnx does not exist",
    "evaluate none --data folder:.": "CheckpointError: none does not exist",
    "evaluate MODEL --data folder:none": "DataError: none is not a folder",
    "evaluate MODEL --data cityscapes:none": "DataError: none is not a folder",
    "evaluate MODEL --data fodler:none": "Did you mean 'folder'?",
    f"evaluate MODEL {DATA} --split vall": "DataError: 'vall' is not a split",
    f"evaluate MODEL {DATA} --json none/a.json": "ConfigError: --json none/a.json: the folder",
    f"evaluate MODEL {DATA} --report photo.png": "ConfigError: --report photo.png is a file",
    f"evaluate MODEL {DATA} --report photo.png/o": "ConfigError: --report photo.png/o cannot be written",
    f"evaluate MODEL {DATA} --json /proc/a.json": "ConfigError: --json /proc/a.json cannot be written",
    "predict MODEL photo.png --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    "explain MODEL photo.png --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    "suggest MODEL photo.png --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    f"tune MODEL {DATA} --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    f"compare tiny.yaml {DATA} --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    f"train tiny.yaml {DATA} --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    f"extend MODEL {DATA} --out photo.png/o": "ConfigError: --out photo.png/o cannot be written",
    f"evaluate MODEL {DATA} --measures boundry": "Did you mean 'boundary'?",
    "explain none photo.png --out o": "CheckpointError: none does not exist",
    "explain MODEL photo --out o": "DataError: photo is no file",
    "explain MODEL photo.png --out photo.png": "ConfigError: --out photo.png is a file",
    "suggest none photo.png --out o": "CheckpointError: none does not exist",
    "suggest MODEL photo --out o": "DataError: photo is no file",
    "suggest MODEL photo.png --out data": "ConfigError: --out data is not empty",
    "suggest MODEL photo.png --out o --labelled none": "DataError: none is no file",
    "suggest MODEL photo.png --out o --calibrate folder:none": "DataError: none is not a folder",
    "suggest MODEL photo.png --out o --calibrate folder:data --split vall": "DataError: 'vall' is not a split",
    "video none a.mp4 b.mp4": "CheckpointError: none does not exist",
    "video MODEL a.mp4 b.mp4": "DataError: a.mp4 is no file",
    "video MODEL a.mp4 none/b.mp4": "ConfigError: none/b.mp4: the folder",
    "extend none --data folder:. --out o": "CheckpointError: none does not exist",
    "extend MODEL --data folder:none --out o": "DataError: none is not a folder",
    f"extend MODEL {DATA} --out photo.png": "ConfigError: --out photo.png is a file",
    f"extend MODEL {DATA} --out o --split trian": "DataError: 'trian' is not a split",
    f"extend MODEL {DATA} --out o --val-split vall": "DataError: 'vall' is not a split",
    "tune none --data folder:. --out o": "CheckpointError: none does not exist",
    f"tune MODEL {DATA} --out photo.png": "ConfigError: --out photo.png is a file",
    f"tune MODEL {DATA} --out o --split vall": "DataError: 'vall' is not a split",
    f"tune MODEL {DATA} --out o --thresholds 3": "'3' is no confidence",
    f"train none {DATA} --out o": "ConfigError: no such file, and 'none' is not a known shipped",
    f"train none.yaml {DATA} --out o": "ConfigError: no such file",
    f"train photo.png {DATA} --out o": "ConfigError: photo.png is not YAML",
    "train tiny.yaml --data folder:none --out o": "DataError: none is not a folder",
    "train tiny.yaml data.source=folder:none --out o": "DataError: none is not a folder",
    "train tiny.yaml --out o": "ConfigError: no data set",
    f"train tiny.yaml {DATA} --out photo.png": "ConfigError: --out photo.png is a file",
    f"train tiny.yaml {DATA} --out data": "ConfigError: --out data is not empty",
    f"train tiny.yaml {DATA} --out o --resume": "CheckpointError: o has no state.ckpt",
    f"train tiny.yaml {DATA} --out o --cache-features photo.png": "--cache-features photo.png is a file",
    f"train tiny.yaml {DATA} training.init_from=none --out o": "CheckpointError: none does not exist",
    f"train tiny.yaml {DATA} backbone.pretrained=true backbone.weights=a.pth --out o": "weight file a.pth does",
    f"train tiny.yaml {DATA} optimizer.lr --out o": "'optimizer.lr' is no override",
    f"train tiny.yaml {DATA} --out o --fit --max-memory much": "memory 'much' is not a number of bytes",
    f"train tiny.yaml {DATA} --out o --fit --max-memory 0GB": "memory '0GB' is none",
    f"train tiny.yaml {DATA} --out o --max-memory 8GB": "--max-memory 8GB says what --fit may use",
    "profile none --size 64x64": "ConfigError: no such file, and 'none' is not a known shipped",
    "profile data --size 64x64": "CheckpointError: data holds no model",
    "profile MODEL --size 64": "ConfigError: --size '64' is not written HEIGHTxWIDTH",
    "profile MODEL --size 64x64 --images none": "DataError: none is no file",
    "convert none.pth --out o": "CheckpointError: weight file none.pth does not exist",
    "convert data --out o": "CheckpointError: weight file data is a folder",
    "convert photo.png --out data": "ConfigError: --out data exists already",
    "convert photo.png --out o --classes none.json": "DataError: none.json does not exist",
    "convert photo.png --out o --dataset cityscape": "Did you mean 'cityscapes'?",
    f"compare none tiny.yaml {DATA} --out o": "'none' is not a known shipped recipe",
    f"compare tiny.yaml none {DATA} --out o": "'none' is not a known shipped recipe",
    "compare tiny.yaml --data folder:none --out o": "DataError: none is not a folder",
    "compare tiny.yaml --out o": "ConfigError: no data set",
    f"compare tiny.yaml {DATA} --out photo.png": "ConfigError: --out photo.png is a file",
    f"continual none {DATA} --out o": "'none' is not a known shipped recipe",
    f"continual tiny.yaml {DATA} --out photo.png": "ConfigError: --out photo.png is a file",
    f"continual tiny.yaml {DATA} --out o --first-of none": "--first-of none is no folder",
    f"continual tiny.yaml {DATA} --out o --beside none": "--beside none is no folder",
    "reproduce none": "'none' is not a known shipped recipe",
    "reproduce voc2012/continual-linear-vit_base_patch16_384-jx-15_5": "vitseg continual runs and scores it",
    "reproduce ade20k/segvit-vit_large_patch16_384 --out o": "no data set: pass --data ade20k:ROOT. To get it: vitseg",
    "reproduce ade20k/segvit-vit_large_patch16_384 --data ade20k:none --out o": "none is not a folder",
    f"reproduce camvid/segvit-vit_tiny {DATA} --out o": "sky, road, tree, but the recipe is for camvid with 11",
    f"reproduce scenes/segvit-test_vit {DATA}": "--out is missing",
    f"reproduce scenes/segvit-test_vit {DATA} --out data": "ConfigError: --out data is not empty",
    f"reproduce scenes/segvit-test_vit {DATA} optimizer.lr --out o": "'optimizer.lr' is no override",
    "recipes show none": "'none' is not a known shipped recipe",
    "recipes --data none": "'none' is not a known data set with recipes",
    "recipes --json none/recipes.json": "--json none/recipes.json: the folder",
    "demo --out data": "ConfigError: --out data is not empty",
    "classes none": "CheckpointError: none does not exist",
    "serve none": "CheckpointError: none does not exist",
    "serve MODEL none.onnx": "CheckpointError: none.onnx does not exist",
    "serve a=MODEL a=MODEL": "ConfigError: two models would be named a",
    "serve a?=MODEL": "cannot be the name of a served model",
    "classes MODEL --rename road": "--rename 'road' is not written OLD=NEW",
    "classes MODEL --rename road=way --out data": "ConfigError: --out data exists already",
    "push none user/name": "CheckpointError: none does not exist",
    "push MODEL name": "ConfigError: 'name' names no user",
    "data check folder:none": "DataError: none is not a folder",
    "data check folder:data --split vall": "DataError: 'vall' is not a split",
    "data check folder:data --html none/a.html": "ConfigError: --html none/a.html: the folder",
    "data show folder:none": "DataError: none is not a folder",
    "data preview folder:none": "DataError: none is not a folder",
    "data preview folder:data --recipe none": "'none' is not a known shipped recipe",
    "data preview folder:data --out a.txt": "ConfigError: --out a.txt is no PNG or JPEG file",
    "data shard folder:none --out o": "DataError: none is not a folder",
    "data shard folder:data --out data": "ConfigError: --out data is not empty",
    "data shard folder:data --out o --split vall": "DataError: 'vall' is not a split",
    "data shard folder:data --out o --shard-size 5": "--shard-size '5' is not written as a number of kB",
    "data shard parquet:none --out o": "DataError: none is not a folder",
    "data prepare camvidd --out o": "Did you mean 'camvid'?",
    "data prepare camvid --out o --source none": "DataError: --source none does not exist",
}  # fmt: skip
"""Commands with something mistyped, and what is said of it."""


@pytest.fixture(scope="module")
def results(tmp_path_factory, model):
    """Exit code and stderr of each of the commands."""
    folder = tmp_path_factory.mktemp("places")
    Image.fromarray(photo(20, 30)).save(folder / "photo.png")
    write_dataset(folder / "data")
    write_recipe(folder / "tiny.yaml")
    commands = [[str(model) if w == "MODEL" else w for w in line.split()] for line in REFUSED]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=folder, input=json.dumps(commands), capture_output=True, text=True, check=True,
    )  # fmt: skip
    written = {path.name for path in folder.iterdir()}
    assert written == {"photo.png", "data", "tiny.yaml"}, "a refused command leaves nothing"
    return dict(zip(REFUSED, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("command", REFUSED)
def test_mistyped_places_are_refused_without_torch(results, command):
    code, said = results[command]
    assert code == 2, said
    assert REFUSED[command] in said
    assert len(said.splitlines()) == 1


def test_every_verb_is_tried():
    assert {line.split()[0] for line in REFUSED} == {*VERBS, "data", "recipes"} - {"doctor"}
