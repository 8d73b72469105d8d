"""Parsers of arguments and options."""

import pytest
import typer

from grounds_client.commands.parsers import parse_decision_id, parse_values

DECISION_ID = "01a2069c-9a81-72fc-ad40-e5128081c8f1"


def test_a_value_in_quotes_is_a_level_even_if_it_looks_like_a_number() -> None:
    texts = ['SECTOR="7"', "PAY_0=7", "PAY_2=-1.5", "TOWN=Ulm", 'QUOTED="', 'EMPTY=""', 'NAN="nan"']

    assert parse_values(texts, "--set") == {
        "SECTOR": "7",
        "PAY_0": 7.0,
        "PAY_2": -1.5,
        "TOWN": "Ulm",
        "QUOTED": '"',
        "EMPTY": "",
        "NAN": "nan",
    }


@pytest.mark.parametrize("text", [DECISION_ID, DECISION_ID.upper(), DECISION_ID.replace("-", "")])
def test_a_full_decision_id_is_parsed_in_any_notation(text: str) -> None:
    assert parse_decision_id(text) == DECISION_ID


@pytest.mark.parametrize("text", [DECISION_ID[:8], DECISION_ID[:-1], "none", ""])
def test_a_prefix_of_a_decision_id_is_rejected_with_the_rule(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="must be a full decision_id of 36 characters, such as"):
        parse_decision_id(text)
