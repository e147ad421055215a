"""Images of more than 8 bits are read alike in all steps, whichever images a step has."""

from __future__ import annotations

from tests.data.deep_sets import png16, write_deep_set
from tests.studies.continual.test_recipe import raw
from vitseg.studies.continual import run
from vitseg.studies.continual.recipe import parse_continual
from vitseg.training.display import Display


def test_the_range_of_the_whole_training_split_is_that_of_all_steps(tmp_path):
    root = write_deep_set(tmp_path / "data", png16(4000))
    content = raw(data={**raw()["data"], "source": f"folder:{root}"})
    content["continual"] |= {"split": "2-1"}
    found = run._Run(parse_continual(content), lambda: Display(quiet=True))
    for number in range(2):
        assert found.training_recipe(number).data.value_range == (0, 4095)
        assert found.data.train_set(number, with_background=False).value_range == (0, 4095)
        assert found.data.val_set(number).value_range == (0, 4095)
