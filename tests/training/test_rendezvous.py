"""Processes that torchrun starts anew meet each other, and nothing that those before them have left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore, Store

from vitseg.errors import VitsegError
from vitseg.training.rendezvous import agree_on_name


def meet(store: Store, ranks: tuple[int, ...] = (0, 1, 2), timeout: float = 30.0) -> set[str]:
    """The names that the processes of one start of three agree on."""
    with ThreadPoolExecutor(len(ranks)) as pool:
        asked = [pool.submit(agree_on_name, store, rank, 3, timeout) for rank in ranks]
        return {future.result() for future in asked}


def test_all_have_one_name_and_every_start_its_own():
    store = HashStore()
    starts = [meet(store) for _ in range(5)]
    assert all(len(start) == 1 for start in starts)
    assert len(set.union(*starts)) == 5


@pytest.mark.parametrize("came", [(0,), (1,), (0, 2), (1, 2)])
def test_those_of_a_start_that_never_met_do_not_matter(came):
    store = HashStore()
    with pytest.raises(VitsegError, match="has not come"):
        meet(store, came, timeout=0.2)
    assert len(meet(store)) == 1


def test_who_is_missing_is_said():
    with pytest.raises(
        VitsegError, match="process 1 of this training has not come: see whether it was started"
    ):
        agree_on_name(HashStore(), 0, 3, timeout=0.1)
    with pytest.raises(VitsegError, match="process 0 of this training has not come"):
        agree_on_name(HashStore(), 2, 3, timeout=0.1)
