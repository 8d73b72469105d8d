"""A local copy of a market's churn predictions: one Parquet or CSV file with the server's newest scoring run."""

from grounds_client.errors import PullRefused
from grounds_client.pull.market_pull import MarketPull, PullResult

__all__ = ["MarketPull", "PullRefused", "PullResult"]
