"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from grounds_client.commands.parsers import check_market, parse_amount, parse_decision_id
from grounds_client.money import Amount as AmountOfMoney

Market = Annotated[
    str, typer.Argument(metavar="MARKET", help="Country, two uppercase letters such as TW.", callback=check_market)
]
CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer_id in that market.")]
Amount = Annotated[
    AmountOfMoney, typer.Argument(metavar="AMOUNT", help="The amount, such as 120000TWD.", parser=parse_amount)
]
OptionalAmount = Annotated[
    AmountOfMoney | None,
    typer.Argument(metavar="AMOUNT", help="The amount, such as 120000TWD.", parser=parse_amount),
]
DecisionId = Annotated[
    str,
    typer.Argument(metavar="DECISION_ID", help="The full id of 36 characters.", parser=parse_decision_id),
]
RequestId = Annotated[str | None, typer.Option(help="A UUID. A call with the same UUID returns the same answer.")]
Locale = Annotated[str, typer.Option(help="Language of the reasons, such as de.")]
Address = Annotated[str, typer.Option(help="Host and port of the server.", envvar="GROUNDS_ADDRESS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON document.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one document per line.")]
