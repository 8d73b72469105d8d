"""Pieces of HTML."""

from grounds_client.markup import Markup, tag


def test_only_pieces_are_markup() -> None:
    assert tag("p", "<b>", tag("b", "a&b"), None, class_="x", data_y='"', id=None) == (
        '<p class="x" data-y="&quot;">&lt;b&gt;<b>a&amp;b</b></p>'
    )
    assert isinstance(tag("p"), Markup)
    assert not isinstance("a" + tag("p"), Markup)
