"""Tree prompts: what they mean, and where they are wrong."""

import pytest

from saccade.runtime.errors import TextError
from saccade.runtime.tree import Item, is_tree, parse


def test_a_tree():
    items = parse(" [a face [an eye, a nose (big, small)] (happy, sad), a hand]")
    face, hand = items
    assert face.name == "a face"
    assert face.kinds == ("happy", "sad")
    assert face.parts == (Item("an eye"), Item("a nose", kinds=("big", "small")))
    assert hand == Item("a hand")
    assert face.names == ("a face", "an eye", "a nose")
    assert face.classified
    assert not hand.classified
    assert parse("[a face (happy) [an eye]]") == (Item("a face", (Item("an eye"),), ("happy",)),)


def test_what_is_a_tree():
    assert is_tree(" [a]")
    assert not any(map(is_tree, ["a cat. a dog.", ["[a]"], None, ""]))


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "'\\['"),
        ("a", "'\\['"),
        ("[", "a name expected at character 1"),
        ("[]", "a name"),
        ("[a", "'\\]' expected at character 2"),
        ("[a,]", "a name expected at character 3"),
        ("[a] b", "the end expected"),
        ("[a (x, y]", "'\\)'"),
        ("[a ()]", "a name"),
        ("[a [b] [c]]", "a comma"),
        ("[a (b) (c)]", "a comma"),
        ("[a, a]", "twice"),
        ("[a (x, x)]", "twice"),
        ("[a [b [c [d [e]]]]]", "deeper"),
        ("[" + ", ".join(f"a{i}" for i in range(300)) + "]", "more than 256"),
    ],
)
def test_where_it_is_wrong(prompt, says):
    with pytest.raises(TextError, match=says) as caught:
        parse(prompt)
    assert caught.value.hint
