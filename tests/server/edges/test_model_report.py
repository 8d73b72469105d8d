"""The report of a bundle: the bytes that training wrote, or an error, and never a changed or very large file."""

import hashlib
from pathlib import Path

import grpc

from grounds.model.v1 import model_pb2 as pb
from models.bundle import FILES, read_bundle, write_bundle
from tests.conftest import Serving
from tests.server.requests import call_error
from tests.server.servers import copy_bundle
from tests.small import SmallFamily


async def test_the_report_is_the_file_of_the_bundle(serving: Serving, small: SmallFamily) -> None:
    wanted = (small.bundle_folder / "report.html").read_bytes()

    answer = await serving.models.GetModelReport(pb.GetModelReportRequest(bundle_id=small.bundle_folder.name))

    assert answer.html == wanted
    assert answer.sha256 == hashlib.sha256(wanted).hexdigest()


async def test_a_changed_or_missing_report_is_not_returned(serving: Serving, small: SmallFamily) -> None:
    request = pb.GetModelReportRequest(bundle_id=small.bundle_folder.name)
    report = serving.settings.bundles / "credit" / small.bundle_folder.name / "report.html"
    report.write_bytes(report.read_bytes() + b"<script>")
    changed = await call_error(serving.models.GetModelReport(request))
    report.unlink()
    missing = await call_error(serving.models.GetModelReport(request))

    for error in (changed, missing):
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_REFUSED")
        assert "report.html" in error.message


async def test_a_report_that_does_not_fit_into_an_answer_is_refused_with_the_limit(
    serving: Serving, small: SmallFamily, tmp_path: Path
) -> None:
    files = {name: (small.bundle_folder / name).read_bytes() for name in FILES}
    large = write_bundle(
        tmp_path, read_bundle(small.bundle_folder).manifest, {**files, "report.html": b"x" * 3_000_001}
    )
    copy_bundle(large, serving.settings.bundles)
    serving.application.models.refresh()

    error = await call_error(serving.models.GetModelReport(pb.GetModelReportRequest(bundle_id=large.name)))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPORT_TOO_LARGE")
    assert error.metadata == {"bundle_id": large.name, "bytes_max": "3000000"}
    assert "3,000,001 bytes" in error.message


async def test_an_unknown_bundle_has_no_report(serving: Serving) -> None:
    error = await call_error(serving.models.GetModelReport(pb.GetModelReportRequest(bundle_id="0" * 64)))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN")
