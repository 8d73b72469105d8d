"""Requests credit decisions for all rows of a CSV file, and writes the answers to another CSV file."""

from grounds_client.file_scoring.scoring import FileScoring, FileScoringResult

__all__ = ["FileScoring", "FileScoringResult"]
