import logging

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

spans, logs = TracerProvider(), LoggerProvider()
spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
trace.set_tracer_provider(spans)
logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))
tracer = trace.get_tracer("orders")


class Undeliverable(Exception):
    """Has a name of its own in spans, and a shorter one in logs."""


def ship(order):
    if order["address"] is None:
        raise Undeliverable("nowhere to go:\n    at nowhere (/srv/app/made_up.js:1:1)\nis no place")


def work():
    # The same error as an event of two spans and as a log record.
    with tracer.start_as_current_span("work"):
        try:
            with tracer.start_as_current_span("ship"):
                ship({"address": None})
        except Undeliverable:
            logging.exception("an order was not shipped")
            raise


try:
    work()
finally:
    spans.shutdown()
    logs.shutdown()
