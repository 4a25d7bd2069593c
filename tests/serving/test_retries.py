"""When a call is made again: codes, waits, the number of tries, the deadline; on a clock that the tests turn."""

import pytest

from tf_probunet.serving.errors import ServingError, failure
from tf_probunet.serving.retries import Deadline, Retries
from tf_probunet.serving.status_codes import HTTP_STATUS, code_of_http

AWAY = ServingError("nobody there", "UNAVAILABLE")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_waits_double_up_to_the_longest_and_are_shortened_by_lot(clock):
    retries, deadline = Retries(number=9, first=0.1, longest=1.0), Deadline(60, clock)
    assert [retries.delay(AWAY, tries, deadline, draw=lambda: 1.0) for tries in range(1, 7)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert [retries.delay(AWAY, tries, deadline, draw=lambda: 0.0) for tries in (1, 6)] == pytest.approx([0.05, 0.5])
    drawn = {retries.delay(AWAY, 1, deadline) for _ in range(20)}
    assert len(drawn) > 10 and all(0.05 <= wait <= 0.1 for wait in drawn)


def test_the_number_of_tries_has_an_end(clock):
    retries, deadline = Retries(number=2), Deadline(60, clock)
    assert retries.delay(AWAY, 2, deadline) > 0
    clock.now += 1.5
    with pytest.raises(ServingError, match="nobody there Tried 3 times in 1.5 s.") as raised:
        retries.delay(AWAY, 3, deadline)
    assert raised.value.code == "UNAVAILABLE" and raised.value.__cause__ is AWAY
    with pytest.raises(ServingError) as raised:
        Retries(number=0).delay(AWAY, 1, deadline)
    assert raised.value is AWAY


def test_no_wait_that_leaves_the_answer_less_time_than_itself(clock):
    retries, deadline = Retries(first=1.0), Deadline(10, clock)
    clock.now += 7.9
    assert retries.delay(AWAY, 1, deadline, draw=lambda: 1.0) == pytest.approx(1.0)
    clock.now += 0.2
    with pytest.raises(ServingError):
        retries.delay(AWAY, 1, deadline, draw=lambda: 1.0)
    assert deadline.remaining() == pytest.approx(1.9)


@pytest.mark.parametrize("code", sorted(set(HTTP_STATUS) - {"OK"}))
def test_which_codes_are_tried_again(clock, code):
    error, tried_again = failure(code, "x", "lidc"), False
    try:
        tried_again = Retries().delay(error, 1, Deadline(60, clock)) > 0
    except ServingError as raised:
        assert raised is error
    assert tried_again == (code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"))


def test_what_is_too_large_stays_so(clock):
    error = failure("RESOURCE_EXHAUSTED", "Received message larger than max (8 vs. 4)", "lidc")
    with pytest.raises(ServingError, match="Raise max_message_bytes"):
        Retries().delay(error, 1, Deadline(60, clock))


@pytest.mark.parametrize("status, code", [
    (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"),
    (413, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (501, "UNIMPLEMENTED"),
    (502, "UNAVAILABLE"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (418, "UNKNOWN"),
])
def test_http_statuses_are_read_as_codes(status, code):
    assert code_of_http(status) == code


def test_a_code_that_does_not_exist():
    with pytest.raises(ValueError, match="code must be one of.*Received: 'GONE'"):
        ServingError("x", "GONE")
