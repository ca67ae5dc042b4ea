"""A list of mixes: what its lines ask for, and what is wrong with them."""

import re

import pytest

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.orders import Order, read_orders
from tests.tiny import NAMES

PIG, CAT = Distribution(("pig", "sheep"), (0.75, 0.25)), Distribution(("cat",), (1.0,))


def orders(folder, text, name="mixes.txt", **given):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_orders(path, NAMES, **given)


def test_a_mix_a_line(tmp_path):
    found = orders(tmp_path, "# two\n\n 75% pig, 25% sheep \r\ncat\n", prompt="a red {}", n=2, seed=5)
    assert found == [Order(PIG, "a red {}", 2, 5), Order(CAT, "a red {}", 2, 5)]


def test_a_table_says_prompt_number_and_seed_where_it_wants(tmp_path):
    text = '\ufeffSeed, mix ,prompt,n\r\n3,"pig=3, sheep=1","a {}, ""big""",\r\n,,,\r\n,cat,,7\r\n'
    found = orders(tmp_path, text, "MIXES.CSV", n=2, seed=5)
    assert found == [Order(PIG, 'a {}, "big"', 2, 3), Order(CAT, "a photo of a {}", 7, 5)]


def test_only_the_end_of_a_line_ends_it(tmp_path):
    (order,) = orders(tmp_path, "mix,prompt\ncat,a\u2028red {}\n", "m.csv")
    assert order.prompt == "a\u2028red {}"
    assert len(orders(tmp_path, "cat\n\x0c75% pig,\x0c25% sheep\n")) == 2
    assert len(orders(tmp_path, "cat\ncat\n")) == 2, "the same twice is made once"


def test_any_words_where_they_are_asked_for(tmp_path):
    with pytest.raises(DistokError, match="unknown class 'dragon'"):
        orders(tmp_path, "dragon, cat")
    assert orders(tmp_path, "dragon, cat", any_words=True)[0].mix.names == ("dragon", "cat")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("m.txt", "cat\n\npgi\n", "m.txt, line 3: unknown class 'pgi'; did you mean 'pig'?"),
        ("m.txt", "# none\n", "m.txt asks for nothing; write one mix a line"),
        ("m.txt", b"\xff\xfe", "m.txt cannot be read (not text); give a text file with one mix a line, or a CSV file"),
        ("m.csv", "", "m.csv has no column mix; its first line names the columns, of mix, prompt, n, seed"),
        ("m.csv", "mix,prompts\n", "m.csv has a column 'prompts'; its first line names"),
        ("m.csv", "mix,n,n\n", "m.csv has a column twice; its first line names"),
        ("m.csv", "mix,n\ncat,two\n", "m.csv, line 2: n is 'two'; give a whole number"),
        ("m.csv", "mix,n\ncat,0\n", "m.csv, line 2: cannot make 0 pictures in one go; ask for 1 to 1000"),
        ("m.csv", "mix,seed\ncat,1\ncat,-1\n", "m.csv, line 3: the seed is -1; use a whole number from 0"),
        ("m.csv", "mix,prompt\ncat,a cat\n", "m.csv, line 2: the prompt 'a cat' has no {}"),
        (
            "m.csv",
            "mix,n\npig=1, cat=1,2\n",
            'm.csv, line 2: 3 cells for 2 columns; write a mix with commas in quotes, as in "pig',
        ),
        ("m.csv", 'mix,n\n"cat,2\n', "m.csv, line 2: unexpected end of data; correct the table"),
        ("m.csv", "mix,n\n,2\n", "m.csv, line 2: the mix is empty; name at least one class"),
        ("m.csv", "mix,n\ncat,2\n\ncat,3\n", "m.csv, line 4: 3 pictures of what line 2 asks 2 of; leave one of the two out"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, name, text, told):
    with pytest.raises(DistokError, match=re.escape(told)):
        orders(tmp_path, text, name)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(DistokError, match=r"gone cannot be read \(No such file or directory\); give a text file"):
        read_orders(tmp_path / "gone")
