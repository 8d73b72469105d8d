"""The proof of a decision is drawn as a path whose hashes anybody can fold to the root in the checkpoint."""

import base64
import hashlib
import re

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page

from grounds.audit.v1 import audit_pb2
from grounds_client import Client
from grounds_client.evidence.checks import check_decision_evidence
from grounds_client.evidence.decision_page import render_decision_page
from grounds_client.evidence.proof_path import proof_path
from grounds_record.note import parse_verifier_key
from tests.console.chromium import check_page, open_page
from tests.console.conftest import Pages

PURPOSE = "Annual review 2026, case 21"


def drawn_hash(box: Locator) -> bytes:
    """Return the hash that a box of the drawing shows."""
    return bytes.fromhex("".join(box.locator(".hash").all_text_contents()))


def left_edge(box: Locator) -> float:
    """Return where a box is on the screen."""
    found = box.bounding_box()
    assert found is not None
    return found["x"]


def fold_drawing(page: Page) -> tuple[bytes, list[bytes]]:
    """Fold the hashes from top to bottom; return the root, and the siblings. Every hash on the way must be drawn."""
    computed, siblings = drawn_hash(page.locator(".path .reached").first), []
    for row in page.locator(".path svg").all():
        if row.locator(".reached").count():
            assert drawn_hash(row.locator(".reached")) == computed
        if row.locator(".sibling").count():
            sibling, path = row.locator(".sibling"), row.locator(".reached")
            siblings.append(drawn_hash(sibling))
            pair = (siblings[-1], computed) if left_edge(sibling) < left_edge(path) else (computed, siblings[-1])
            computed = hashlib.sha256(b"\x01" + b"".join(pair)).digest()
    return computed, siblings


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_the_drawn_hashes_lead_to_the_root_of_the_checkpoint(
    chromium: Chromium, pages: Pages, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)
    for decision_id in pages.decision_ids:
        page.goto(f"{pages.url}/evidence/{decision_id}")
        if page.get_by_label("Purpose").count():
            page.get_by_label("Purpose").fill(PURPOSE)
            page.get_by_role("button", name="Continue").click()
        check_page(page)
        _, size, root, *_ = page.get_by_text("grounds.local/log").locator("visible=true").last.inner_text().split("\n")
        with Client(pages.address) as client:
            proof = client.get_inclusion_proof(decision_id, tree_size=int(size))

        computed, siblings = fold_drawing(page)
        assert computed == base64.b64decode(root) == drawn_hash(page.locator(".path .root"))
        assert siblings == list(proof.hashes)
        assert len(siblings) >= 2
        assert drawn_hash(page.locator(".path .reached").first) == proof.record.nodes[0]
        assert page.locator(".path .holds").inner_text().startswith("The path holds")
        table = page.locator(".path table").inner_text()
        assert [each for each in (*siblings, computed) if each.hex() not in table] == []
        font = page.locator(".path .hash").first.bounding_box()
        assert font is not None
        assert font["height"] >= 10  # pixels on the screen, also at 400 px
    assert problems == []


def read_proof(pages: Pages) -> tuple[audit_pb2.Evidence, audit_pb2.ReplayDecisionResponse]:
    """Return the evidence and the replay of a decision."""
    with Client(pages.address) as client:
        decision_id = pages.decision_ids[1]
        return client.get_evidence(decision_id, PURPOSE), client.replay_decision(decision_id, PURPOSE)


@pytest.mark.parametrize("planted", ["hash", "record"])
def test_a_proof_that_does_not_verify_is_drawn_as_broken_in_words(
    chromium: Chromium, pages: Pages, planted: str
) -> None:
    evidence, replay = read_proof(pages)
    if planted == "hash":
        evidence.proof.hashes[1] = hashlib.sha256(b"another").digest()
    else:
        evidence.proof.record.ciphertext = evidence.proof.record.ciphertext[:-1] + b"\0\0"
    checks = check_decision_evidence(evidence, parse_verifier_key(evidence.verifier_key))
    page = open_page(chromium, 400, "light", [])
    page.set_content(render_decision_page(evidence, replay, checks, purpose=PURPOSE, key="k"))

    check_page(page)
    assert page.locator(".path .fails").inner_text().startswith("The path is broken: it leads to another root")
    assert page.locator(".path .holds").count() == 0
    assert page.locator(".path .broken").get_by_text("not equal").is_visible()
    computed, _ = fold_drawing(page)
    assert computed != drawn_hash(page.locator(".path .root"))


def test_a_proof_without_a_path_says_why(pages: Pages) -> None:
    def words(**changes: object) -> str:
        """Return the words for a proof with other fields."""
        changed = audit_pb2.GetInclusionProofResponse()
        changed.CopyFrom(proof)
        for name, value in changes.items():
            changed.ClearField(name)
            if name == "hashes":
                changed.hashes.extend(value)  # type: ignore[arg-type]
            else:
                setattr(changed, name, value)
        html = proof_path(changed)
        assert "<svg" not in html
        return re.sub("<[^>]+>", "", html)

    proof = read_proof(pages)[0].proof
    erased = audit_pb2.GetInclusionProofResponse()
    erased.CopyFrom(proof)
    erased.record.ClearField("ciphertext")
    assert "The path holds: from the stored hash of the record, whose content was erased" in proof_path(erased)
    start = "The path is broken and cannot be drawn: "
    assert words(hashes=proof.hashes[:-1]).startswith(f"{start}the proof has {len(proof.hashes) - 1} hashes")
    assert words(hashes=[*proof.hashes[:-1], b"short"]).startswith(f"{start}a hash does not have 32 bytes")
    assert words(checkpoint="<b>nothing</b>").startswith(start)
    assert words(checkpoint=proof.checkpoint.replace(f"\n{proof.tree_size}\n", "\n1\n")).startswith(
        f"{start}a tree of 1 records has no record"
    )
