import re
from itertools import pairwise

import pytest

from sim.requests import Request, draw_requests, read_requests

HEAD = "arrival_s,prefill,decode\n"


def test_a_file_is_read_in_any_order_of_columns(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("decode,arrival_s,user,prefill\n7,0.5,a,100\n8,0.5,b,20\n1,2e1,c,3\n")
    assert read_requests(path) == [Request(0.5, 100, 7), Request(0.5, 20, 8), Request(20, 3, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "some.csv has no column arrival_s; arrival_s, prefill, decode are needed"),
        ("arrival_s,prefill\n0,1\n", "some.csv has no column decode; "),
        (HEAD, "some.csv has no requests; a row for each is needed"),
        (HEAD + "0,1,1\n2,1,1\n1.5,1,1\n", "some.csv:4: arrival_s is 1.5 after 2; requests are"),
        (HEAD + "0,1,1\n,1,1\n", "some.csv:3: arrival_s is missing"),
        (HEAD + "0,1\n", "some.csv:2: decode is missing"),
        (HEAD + "soon,1,1\n", "some.csv:2: arrival_s is 'soon'; a number is needed"),
        (HEAD + "nan,1,1\n", "some.csv:2: arrival_s is nan; a finite number is needed"),
        (HEAD + "-1,1,1\n", "some.csv:2: arrival_s is -1; seconds from 0 to 1e9 are allowed"),
        (HEAD + "0,0,1\n", "some.csv:2: prefill is 0; 1 to 10,000,000 tokens are allowed"),
        (HEAD + "0,1,2.5\n", "some.csv:2: decode is 2.5; 1 to 10,000,000 tokens are allowed"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, message):
    path = tmp_path / "some.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read_requests(path)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ValueError, match=r"^cannot read '.*none\.csv'"):
        read_requests(tmp_path / "none.csv")
    (tmp_path / "some.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^some\.csv is not a CSV file"):
        read_requests(tmp_path / "some.csv")


def test_random_requests_have_the_rate_and_lengths_that_are_asked_for():
    drawn = draw_requests(5.0, 20_000, 300, 40, "exponential", seed=3)
    assert drawn == draw_requests(5.0, 20_000, 300, 40, "exponential", seed=3)
    assert drawn != draw_requests(5.0, 20_000, 300, 40, "exponential", seed=4)
    gaps = [b.arrival - a.arrival for a, b in pairwise(drawn)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.2, rel=0.03)
    # Of Poisson arrivals the gaps vary as much as their mean.
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(0.04, rel=0.06)
    assert sum(one.prefill for one in drawn) / len(drawn) == pytest.approx(300, rel=0.03)
    assert sum(one.decode for one in drawn) / len(drawn) == pytest.approx(40.5, rel=0.03)
    assert min(min(one.prefill, one.decode) for one in drawn) >= 1
    assert {one.prefill for one in draw_requests(5.0, 10, 300, 40)} == {300}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0}, "rate is 0 requests per second; more than 0 and up to 1,000,000 are allowed"),
        ({"rate": -2.5}, "rate is -2.5 requests per second; "),
        ({"rate": 1e9}, "rate is 1e+09 requests per second; "),
        ({"rate": float("nan")}, "rate is nan requests per second; "),
        ({"count": 0}, "count is 0 requests; more than 0 and up to 1,000,000 are allowed"),
        ({"decode": 0}, "decode is 0 tokens; "),
        ({"lengths": "long"}, "lengths is 'long'; fixed and exponential are allowed"),
    ],
)
def test_absurd_numbers(change, message):
    usual = {"rate": 1.0, "count": 2, "prefill": 3, "decode": 4}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        draw_requests(**usual | change)
