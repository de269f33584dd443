"""Bulk writes, and the jobs that long ones are."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
from starlette.responses import Response, StreamingResponse

from swath.catalog import Catalog
from swath.catalog.bulk import Bulk, BulkOptions, BulkSummary, summary_of
from swath.errors import Gone, InvalidDocument, InvalidRequest, KeyReused, NotFound, Unavailable
from swath.http.call import Call
from swath.http.entities import condition_of, once_of
from swath.http.links import JSON, link, segment
from swath.http.params import Query, read_flag
from swath.http.responses import json_answer
from swath.http.route import JSON_BODIES, Route
from swath.jobs import ENDED, Job, Jobs, sync_folder
from swath.stac.time import format_instant
from swath.store.records import Mode

__all__ = ["ROUTES", "work_on"]

_MODES: tuple[Mode, ...] = ("insert", "upsert", "ignore")
_PARAMETERS = ("mode", "atomic", "dry_run", "fix", "report")
_BULK = "bulk"
_PATIENCE_SECONDS = 20.0  # for a job that another thread or process came before us to


class _Request(msgspec.Struct):
    """What is kept of a bulk write that is a job. `said` is a hash of the request."""

    options: BulkOptions
    report: str
    said: bytes = b""


class _Items(msgspec.Struct):
    items: dict[str, msgspec.Raw]
    method: str = "insert"


class _Id(msgspec.Struct):
    id: object = None


def bulk(call: Call) -> Response:
    """NDJSON or an ItemCollection, of any length."""
    query = call.parameters(_PARAMETERS)
    assert call.upload is not None
    return _bulk(call, query, query.one("mode") or "insert", call.upload)


def bulk_items(call: Call) -> Response:
    """The body of stac-fastapi's bulk transactions: items by their ids."""
    query = call.parameters(("atomic", "dry_run", "fix", "report"))
    try:
        body = msgspec.json.decode(call.body, type=_Items)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidDocument(f'expected {{"items": {{ID: ITEM}}, "method": "insert" or "upsert"}}: {error}') from None
    for name, raw in body.items.items():
        given = _id_of(bytes(raw))
        if given != name:
            raise InvalidDocument(f"the item says {given!r}, its key {name!r}", f"/items/{name}/id")
    upload = _jobs(call.catalog).new(_BULK, b"").file("upload~")
    upload.write_bytes(b"".join(msgspec.json.format(bytes(raw), indent=-1) + b"\n" for raw in body.items.values()))
    return _bulk(call, query, body.method, upload)


def _id_of(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw, type=_Id).id
    except msgspec.MsgspecError:
        return None


def _bulk(call: Call, query: Query, mode: str, upload: Path) -> Response:
    try:
        if condition_of(call) is not None:  # of which item?
            raise InvalidRequest("a bulk write takes no condition: If-Match is for one item or collection")
        jobs, once = _jobs(call.catalog), once_of(call)
        again = once is not None and call.catalog.ledger.done_once(once) is not None
        options, shown = _options(call, query, mode, again=again)
        if once is None and "respond-async" not in call.headers.get("prefer", ""):
            return _at_once(jobs.new(_BULK, b""), call.catalog, options, upload, shown)
        said = once.request if once else b""
        request = msgspec.msgpack.encode(_Request(options, shown, said))
        job_id = hashlib.blake2b(once.key.encode(), digest_size=8, key=b"job").hexdigest() if once else None
        job = jobs.new(_BULK, request, job_id)
        if jobs.ledger.job(job.id) is None:
            if again:
                raise NotFound("this was done before, and its report is forgotten: the job was dismissed")
            with upload.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(upload, job.file("upload"))
            sync_folder(jobs.folder)  # before the job is kept, which needs the file
            jobs.keep(job)
        if once is not None:  # the key is taken for every other request too; behind the job, which does it once
            call.catalog.ledger.write([], "upsert", call.actor, once=once)
    finally:
        upload.unlink(missing_ok=True)
    if msgspec.msgpack.decode(jobs.get(job.id).record.request, type=_Request).said != said:
        raise KeyReused("this Idempotency-Key came with another request before; choose a new one for each request")
    if "respond-async" in call.headers.get("prefer", ""):
        answer = json_answer(_status(call, jobs, jobs.get(job.id)), status=202)
        answer.headers["location"] = call.address.href(f"/jobs/{job.id}")
        answer.headers["preference-applied"] = "respond-async"
        return answer
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        jobs.run(job, _kinds(call.catalog)[_BULK])
        done = jobs.get(job.id)
        if done.record.state in ENDED:
            return _results(done)
        if time.monotonic() > until:  # another thread or process has it
            raise Unavailable("the same request is being worked on; ask again in a moment", 2)
        time.sleep(0.05)


def _options(call: Call, query: Query, mode: str, *, again: bool) -> tuple[BulkOptions, str]:
    if mode not in _MODES:
        raise InvalidRequest(f"mode: {mode[:40]!r} is none of {', '.join(_MODES)}")
    shown = query.one("report") or "all"
    if shown not in ("all", "refused"):
        raise InvalidRequest(f"report: {shown[:40]!r} is neither all nor refused")
    name = call.path["collection"]
    if not again:
        call.catalog.check_collection(name, call.rule)
    atomic, dry_run, fix = (read_flag(each, query.one(each)) for each in ("atomic", "dry_run", "fix"))
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    return BulkOptions(name, mode, atomic, dry_run, call.actor, fix, media_type not in JSON_BODIES), shown


def _at_once(job: Job, catalog: Catalog, options: BulkOptions, upload: Path, shown: str) -> Response:
    report = job.file("report")
    try:
        summary = Bulk(catalog, options).run(upload, report)
        return _answer(options, summary, report.open("rb"), shown)
    finally:
        report.unlink(missing_ok=True)  # it stays readable for as long as it is open


def _answer(options: BulkOptions, summary: BulkSummary, lines: IO[bytes], shown: str) -> Response:
    """207 where it is partly done, 409 where it was all or nothing and is nothing."""
    status = 200
    if summary.refused:
        status = 409 if options.atomic else 207

    def content() -> Iterator[bytes]:
        with lines:
            yield from _report(options, summary, lines, shown)

    return StreamingResponse(content(), status, media_type=JSON)


def _report(options: BulkOptions, summary: BulkSummary, lines: IO[bytes], shown: str) -> Iterator[bytes]:
    """A JSON object with the sums and what became of each item, without holding them all."""
    told: dict[str, Any] = {
        "collection": options.collection, "mode": options.mode, "atomic": options.atomic, "dry_run": options.dry_run,
        **_sums(summary),
    }  # fmt: skip
    yield msgspec.json.encode(told)[:-1] + b',"items":['
    comma = b""
    chunk: list[bytes] = []
    for line in lines:
        if shown == "all" or b'"outcome":"refused"' in line:
            chunk.append(comma + line.rstrip(b"\n"))
            comma = b","
            if len(chunk) >= 1_000:
                yield b"".join(chunk)
                chunk.clear()
    yield b"".join(chunk) + b"]}"


def _sums(summary: BulkSummary) -> dict[str, int]:
    names = ("created", "updated", "unchanged", "ignored", "refused", "not_done")
    return {name: getattr(summary, name) for name in names}


# -- jobs ----------------------------------------------------------------------------------------


def _jobs(catalog: Catalog) -> Jobs:
    assert catalog.folder is not None
    jobs = Jobs(catalog.ledger, catalog.folder)
    jobs.folder.mkdir(exist_ok=True)
    return jobs


def _kinds(catalog: Catalog) -> Mapping[str, Callable[[Job], bytes]]:
    """What is done for each kind of job."""

    def do_bulk(job: Job) -> bytes:
        request = msgspec.msgpack.decode(job.record.request, type=_Request)
        work = Bulk(catalog, request.options)
        summary = work.run(
            job.file("upload"),
            job.file("report"),
            job=job.id,
            on_progress=lambda line, so_far: job.tell(line=line, **_sums(so_far)),
        )
        return msgspec.msgpack.encode(summary)

    return {_BULK: do_bulk}


def work_on(catalog: Catalog, over: threading.Event) -> None:
    """Do the jobs of a catalogue until it is over."""
    _jobs(catalog).work(_kinds(catalog), over)


def jobs_list(call: Call) -> Response:
    call.parameters(())
    jobs = _jobs(call.catalog)
    links = [link("self", call.address.href("/jobs")), link("root", call.address.href("/"))]
    return json_answer({"jobs": [_status(call, jobs, job) for job in jobs.all()], "links": links})


def job_status(call: Call) -> Response:
    call.parameters(())
    jobs = _jobs(call.catalog)
    return json_answer(_status(call, jobs, jobs.get(call.path["job"])))


def job_results(call: Call) -> Response:
    call.parameters(())
    return _results(_jobs(call.catalog).get(call.path["job"]))


def job_dismissed(call: Call) -> Response:
    call.parameters(())
    jobs = _jobs(call.catalog)
    return json_answer(_status(call, jobs, jobs.dismiss(call.path["job"])) | {"status": "dismissed"})


def _results(job: Job) -> Response:
    if job.record.kind != _BULK:
        raise NotFound(f"the job {job.id} is one of kind {job.record.kind}, which has no report")
    request = msgspec.msgpack.decode(job.record.request, type=_Request)
    if job.record.state == "failed":
        raise InvalidRequest((job.record.result or b"").decode())
    if job.record.state not in ("successful", "dismissed"):
        raise NotFound(f"the job {job.id} is {job.record.state}: there are no results")
    try:
        report = job.file("report").open("rb")
    except FileNotFoundError:  # in a catalogue out of a backup, say
        raise Gone(f"the report of the job {job.id} is not kept here any more; see /jobs/{job.id}") from None
    if job.record.state == "dismissed":  # what had been done by then is done
        return _answer(request.options, summary_of(report), report, request.report)
    summary = msgspec.msgpack.decode(job.record.result or b"", type=BulkSummary)
    return _answer(request.options, summary, report, request.report)


def _status(call: Call, jobs: Jobs, job: Job) -> dict[str, Any]:
    """OGC API - Processes, statusInfo."""
    here = f"/jobs/{segment(job.id)}"
    record = job.record
    links = [link("self", call.address.href(here))]
    told: dict[str, Any] = {
        "jobID": job.id, "type": record.kind, "status": record.state, "created": format_instant(record.at),
        "counts": jobs.progress(job), "links": links,
    }  # fmt: skip
    if record.state == "failed":
        told["message"] = (record.result or b"").decode()
    if record.state == "successful" and record.kind == _BULK:
        links.append(link("results", call.address.href(f"{here}/results")))
        told["counts"] |= _sums(msgspec.msgpack.decode(record.result or b"", type=BulkSummary))
    return told


_RESULTS = {200: (JSON, "report"), 207: (JSON, "report"), 409: (JSON, "report")}
_REPORT = _RESULTS | {202: (JSON, "job")}
_FAULTS = (400, 403, 404, 410, 413, 415, 422, 503)
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", *JSON_BODIES)

ROUTES: tuple[Route, ...] = (
    Route("POST", "/collections/{collection}/bulk", bulk, "bulk",
          "Write many items, as NDJSON or an ItemCollection of any length", ("collection", *_PARAMETERS), "items",
          _REPORT, _FAULTS, "Transactions", "write", True, _LINES, True),
    Route("POST", "/collections/{collection}/bulk_items", bulk_items, "bulkItems",
          "Write many items, as stac-fastapi takes them", ("collection", *_PARAMETERS[1:]), "bulkItems",
          _REPORT, _FAULTS, "Transactions", "write", True),
    Route("GET", "/jobs", jobs_list, "getJobs", "Jobs, the youngest first", (), None, {200: (JSON, "object")},
          (400, 503), "Jobs", "side"),
    Route("GET", "/jobs/{job}", job_status, "getJob", "How far a job is", ("job",), None, {200: (JSON, "job")},
          (400, 404, 503), "Jobs", "side"),
    Route("GET", "/jobs/{job}/results", job_results, "getJobResults", "The report of a job", ("job",), None,
          _RESULTS, (400, 404, 410, 503), "Jobs", "side"),
    Route("DELETE", "/jobs/{job}", job_dismissed, "dismissJob", "Stop a job; forget one that has ended", ("job",), None,
          {200: (JSON, "job")}, (400, 403, 404, 503), "Jobs", "write", True),
)  # fmt: skip
