"""Error texts contain the path and the rule of each rejected field, and neither a pattern nor the value."""

import inspect
import re

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import models.identifiers
from models import bundle_documents
from models.field_problems import field_path, field_problems
from server.decisions import policy, retention
from server.load import manifest


class Document(BaseModel):
    """A document with one field for each kind of rule."""

    model_config = ConfigDict(extra="forbid")

    market: models.identifiers.Market
    years: int = Field(ge=1)
    name: str


def test_each_problem_names_the_field_and_the_rule() -> None:
    with pytest.raises(ValidationError) as caught:
        Document.model_validate({"market": "secret", "years": 0, "naem": "x"})

    problems = {field_path(path): problem for path, problem in field_problems(caught.value)}

    assert problems == {
        "market": "must be two uppercase letters, such as DE",
        "years": "Input should be greater than or equal to 1",
        "name": "missing",
        "naem": "unknown name; check its spelling",
    }


def test_every_pattern_of_the_documents_that_operators_write_or_load_has_a_rule_in_words() -> None:
    source = inspect.getsource(inspect.getmodule(field_problems) or models)
    modules = (models.identifiers, bundle_documents, policy, retention, manifest)
    patterns = {
        found for module in modules for found in re.findall(r'pattern=(rf?"[^"]+"|f"[^"]+")', inspect.getsource(module))
    }

    assert len(patterns) > 8
    assert [pattern for pattern in patterns if pattern not in source] == []
