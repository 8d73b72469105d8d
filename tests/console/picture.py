"""Takes the README's picture of the console: `python -m tests.console.picture`, while `make serve` runs."""

import shutil
from typing import Annotated

import typer
from playwright.sync_api import sync_playwright

from grounds_client import Amount, Client
from grounds_client.channel import DEFAULT_ADDRESS
from tests.conftest import ROOT
from tests.console.serving import open_console

PICTURE = ROOT / "docs" / "console.png"
MARKET, CUSTOMER, AMOUNT = "TW", "148", "120000TWD"  # the applicant of the README


def main(address: Annotated[str, typer.Option(help="Host and port of the gRPC server.")] = DEFAULT_ADDRESS) -> None:
    """Score the applicant of the README, and take a picture of the page of the decision."""
    with Client(address) as client:
        decision = client.score_credit(MARKET, CUSTOMER, Amount.parse(AMOUNT))
    with open_console("--address", address) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 720})
        page.goto(f"{url}/decisions/{decision.record_ref.decision_id}")
        page.screenshot(path=str(PICTURE))


if __name__ == "__main__":
    typer.run(main)
