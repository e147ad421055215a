import time

import pytest

from vitseg.serve.admission import Admission
from vitseg.serve.problems import BusyError, UnavailableError


def ready(max_requests=2, max_pixels=100):
    admission = Admission(max_requests, max_pixels)
    admission.state = "ready"
    return admission


def soon(seconds=10.0):
    return time.monotonic() + seconds


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_only_a_ready_server_takes_requests(state):
    admission = ready()
    admission.state = state
    with pytest.raises(UnavailableError), admission.enter(soon()):
        pass


def test_places_are_counted_and_given_back_also_after_errors():
    admission = ready()
    with admission.enter(soon()), admission.enter(soon()):
        assert admission.requests == 2
        with pytest.raises(BusyError) as caught, admission.enter(soon()):
            pass
        assert caught.value.headers == {"Retry-After": "1"}

    def fail():
        with admission.enter(soon()) as place:
            place.add_pixels(60)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (admission.requests, admission.pixels) == (0, 0)


def test_pixels_are_bounded_but_one_image_alone_may_have_more():
    admission = ready(max_requests=3)
    with admission.enter(soon()) as first:
        first.add_pixels(500)
        with admission.enter(soon()) as second, pytest.raises(BusyError):
            second.add_pixels(1)
    with admission.enter(soon()) as first, admission.enter(soon()) as second:
        first.add_pixels(60)
        second.add_pixels(40)
        assert admission.pixels == 100


def test_who_would_wait_longer_than_it_has_time_is_refused_at_once():
    admission = ready(max_requests=100)
    for _ in range(100):
        admission.note(2.0)
    with admission.enter(soon(1.0)), admission.enter(soon(10.0)), admission.enter(soon(10.0)):
        with pytest.raises(BusyError, match=r"about 6\.0 s"), admission.enter(soon(7.0)):
            pass
        with admission.enter(soon(8.0)):
            pass


def test_the_time_of_a_request_follows_the_last_ones():
    admission = ready()
    admission.note(5.0)
    assert admission.seconds == 5.0
    for _ in range(100):
        admission.note(1.0)
    assert admission.seconds == pytest.approx(1.0, abs=1e-3)
