"""HTML built from escaped text."""

from grounds_client.evidence.markup import Markup, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", tag("b", "a&b"), None, class_="x", data_y='"', id=None) == (
        '<p class="x" data-y="&quot;">&lt;b&gt;<b>a&amp;b</b></p>'
    )
    assert isinstance(tag("p"), Markup)
    assert not isinstance("a" + tag("p"), Markup)
