"""A receiver of OTLP over HTTP for tests. What comes is decoded by the protobuf classes that the
OpenTelemetry project publishes for Python, and written out whole: every name, unit, description,
attribute, value and temporality. Times of measurements, which differ from run to run, are checked
and left out; those of log records are written out.

    otlp.py '{"rejected": 2, "error": "too old"}'

Prints {"port": …} and then one line of JSON for each request. With `rejected` and `error` the
answer says that part of it was not taken.
"""

import datetime
import gzip
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

TEMPORALITY = metrics_pb2.AggregationTemporality


def value(any_value):
    """A value with its type."""
    kind = any_value.WhichOneof("value")
    if kind is None:
        return "nothing"
    found = getattr(any_value, kind)
    if kind == "array_value":
        return "[" + ", ".join(value(v) for v in found.values) + "]"
    if kind == "kvlist_value":
        return attributes(found.values)
    if kind == "string_value":
        return json.dumps(found, ensure_ascii=True)
    return f"{kind.removesuffix('_value')} {json.dumps(found)}"


def attributes(found):
    names = [a.key for a in found]
    assert len(set(names)) == len(names), f"an attribute is there twice: {names}"
    return "{" + ", ".join(f"{a.key}={value(a.value)}" for a in found) + "}"


def nothing_unknown(message):
    """Every field is one that the published classes know."""
    assert len(UnknownFieldSet(message)) == 0, f"unknown fields in {message.DESCRIPTOR.name}"
    for field, found in message.ListFields():
        if field.message_type is not None:
            for inner in found if field.is_repeated else [found]:
                nothing_unknown(inner)


def in_time(point):
    now = time.time_ns()
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano <= now, point
    assert now - point.start_time_unix_nano < 600e9, point
    assert not point.exemplars and point.flags == 0, point


def number(point):
    in_time(point)
    kind = point.WhichOneof("value")
    return f"{attributes(point.attributes)} {kind.removeprefix('as_')} {getattr(point, kind)!r}"


def histogram(point):
    in_time(point)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    return (
        f"{attributes(point.attributes)} count {point.count} sum {point.sum!r}"
        f" min {point.min!r} max {point.max!r}"
        f" buckets {list(point.bucket_counts)} bounds {list(point.explicit_bounds)}"
    )


def exponential(point):
    in_time(point)
    return (
        f"{attributes(point.attributes)} count {point.count} sum {point.sum!r}"
        f" min {point.min!r} max {point.max!r} scale {point.scale} zero {point.zero_count}"
        f" positive {point.positive.offset} {list(point.positive.bucket_counts)}"
        f" negative {point.negative.offset} {list(point.negative.bucket_counts)}"
    )


def metric(found):
    kind = found.WhichOneof("data")
    data = getattr(found, kind)
    words = [kind]
    if kind != "gauge":
        temporality = TEMPORALITY.Name(data.aggregation_temporality)
        words.append(temporality.removeprefix("AGGREGATION_TEMPORALITY_").lower())
    if kind == "sum":
        words.append("monotonic" if data.is_monotonic else "not monotonic")
    write = {"histogram": histogram, "exponential_histogram": exponential}.get(kind, number)
    points = sorted(write(p) for p in data.data_points)
    assert points, f"{found.name} has no points"
    head = f"{found.name} [{found.unit}] {', '.join(words)}: {found.description}"
    return "\n".join([head] + [f"    {p}" for p in points])


def moment(nanoseconds):
    assert nanoseconds % 1000 == 0
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=nanoseconds // 1000)
    return at.isoformat() + "Z"


def record(found):
    assert not found.trace_id and not found.span_id and found.flags == 0
    assert found.dropped_attributes_count == 0
    severity = logs_pb2.SeverityNumber.Name(found.severity_number)
    head = (
        f"{moment(found.time_unix_nano)} (observed {moment(found.observed_time_unix_nano)})"
        f" {severity.removeprefix('SEVERITY_NUMBER_')} {found.severity_text} {found.event_name}"
    )
    names = [a.key for a in found.attributes]
    assert len(set(names)) == len(names), f"an attribute is there twice: {names}"
    lines = [f"    {a.key} = {value(a.value)}" for a in found.attributes]
    return "\n".join([head, f"    {value(found.body)}"] + lines)


def whole(resources, scopes, items, write):
    lines = []
    for resource in resources:
        lines.append(f"resource {resource.schema_url}".rstrip())
        lines += sorted(f"    {a.key} = {value(a.value)}" for a in resource.resource.attributes)
        for scope in getattr(resource, scopes):
            lines.append(f"scope {scope.scope.name} {scope.scope.version}")
            assert not scope.scope.attributes
            lines += [write(item) for item in getattr(scope, items)]
    return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings = {}

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        rejected = self.settings.get("rejected", 0)
        if self.path == "/v1/metrics":
            request = metrics.ExportMetricsServiceRequest.FromString(body)
            text = whole(request.resource_metrics, "scope_metrics", "metrics", metric)
            answer = metrics.ExportMetricsServiceResponse()
            answer.partial_success.rejected_data_points = rejected
        else:
            assert self.path == "/v1/logs", self.path
            request = logs.ExportLogsServiceRequest.FromString(body)
            text = whole(request.resource_logs, "scope_logs", "log_records", record)
            answer = logs.ExportLogsServiceResponse()
            answer.partial_success.rejected_log_records = rejected
        nothing_unknown(request)
        answer.partial_success.error_message = self.settings.get("error", "")
        if not rejected and not answer.partial_success.error_message:
            answer.ClearField("partial_success")
        headers = {name.lower(): found for name, found in self.headers.items()}
        line = {"path": self.path, "headers": headers, "bytes": len(body), "text": text}
        print(json.dumps(line), flush=True)
        reply = answer.SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


Handler.settings = json.loads(sys.argv[1])
server = HTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
