"""Traces: how long each step of a message's way took, as OpenTelemetry spans, one trace across all servers on that way.

The trace of a message follows from its envelope's id, so nothing is kept of it while the message waits in the queue: accepting it is
the root, each attempt to pass it on a child. Another MailX server hears by a ``traceparent`` (W3C Trace Context) which trace the
message belongs to; which of its messages belong to other servers' traces it remembers for the last ones only, in memory. Spans hold
ids, times, sizes, states and domains; never an address or a word of a message. They are posted by a thread of the exporter's own;
what it cannot post is dropped, and mail never waits for it.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from mailx import __version__
from mailx.config_federation import Traces
from mailx.mail.reply import Refused

log = Logger()

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_SAMPLED = 1
_POST_SECONDS = 2.0  # that one posting may take, with what is tried again
_FLUSH_SECONDS = 2.0  # that spans have to leave when the server stops
_JOINED = 10000  # messages of other servers' traces that are remembered, for those that are passed on


class Unusable(Exception):
    """Traces cannot be made; the text is for the operator."""


class Span(Protocol):
    """One step under way."""

    @property
    def traceparent(self) -> str:
        """What tells another server that its steps belong to this one; empty: they are not traced."""

    def note(self, **facts: str | int | float | bool) -> None:
        """Add what is known by now."""

    def fail(self, reason: str) -> None:
        """It did not come about; ``reason`` is a code, not a text of somebody else's."""


class _Untraced:
    traceparent = ""

    def note(self, **facts: str | int | float | bool) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


Step = Callable[..., AbstractContextManager[Span]]  # Spans.step; Spans.accepting
UNTRACED: Span = _Untraced()
_NOTHING: AbstractContextManager[Span] = nullcontext(UNTRACED)


def untraced(*args: object, **facts: object) -> AbstractContextManager[Span]:
    """Stands for a step where nothing is traced."""
    return _NOTHING


@frozen
class _Traced:
    span: Any

    @property
    def traceparent(self) -> str:
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def note(self, **facts: str | int | float | bool) -> None:
        self.span.set_attributes({f"mailx.{name}": value for name, value in facts.items()})

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self.span.set_status(Status(StatusCode.ERROR, reason))


class Spans:
    """Makes spans and has them posted; without ``settings.endpoint`` it does nothing, at no cost."""

    def __init__(self, settings: Traces, hostname: str, exporter: Any = None) -> None:
        """``exporter`` takes the spans in place of the endpoint's. Raises Unusable, such as when the libraries are not installed."""
        self._percent = settings.percent
        self._tracer: Any = None
        self._provider: Any = None
        self._joined: OrderedDict[str, int] = OrderedDict()  # envelope to trace
        if settings.endpoint or exporter is not None:
            self._open(settings.endpoint, hostname, exporter)

    def _open(self, endpoint: str, hostname: str, exporter: Any) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_POST_SECONDS)
            who = Resource.create({"service.name": "mailx", "service.version": __version__, "host.name": hostname})
            ids: Any = _Ids()
            self._provider = TracerProvider(resource=who, id_generator=ids, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        except ImportError as error:
            missing = error.name or "opentelemetry"
            raise Unusable(
                f"[traces] endpoint is set, but {missing} is not installed: install mailx[traces], or empty the setting"
            ) from None
        except Exception as error:  # the library also reads variables of the environment, OTEL_...
            raise Unusable(f"[traces] spans cannot be posted; look at endpoint and at variables OTEL_...: {error}") from None
        self._tracer = self._provider.get_tracer("mailx")
        library = logging.getLogger("opentelemetry")
        if not any(isinstance(each, _Told) for each in library.handlers):
            library.addHandler(_Told())
            library.propagate = False

    async def stop(self) -> None:
        """Post what waits, within a moment."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            await deferToThread(_close, provider)

    def accepting(self, id: str, parent: str = "", **facts: str | int | float | bool) -> AbstractContextManager[Span]:
        """The message of envelope ``id`` is being accepted; ``parent`` is the traceparent of the server that brings it."""
        if self._tracer is None:
            return _NOTHING
        if (under := _under_way.get()) is not None and under.id == id:  # its domain has become one of ours, and an attempt brings it home
            return self.step("accept", id, **facts)
        found = _PARENT.match(parent)
        if found is not None and int(found[1], 16) and int(found[2], 16):
            if not int(found[3], 16) & _SAMPLED:
                return _NOTHING
            trace, above = int(found[1], 16), int(found[2], 16)
            self._joined[id] = trace
            if len(self._joined) > _JOINED:
                self._joined.popitem(last=False)
            return self._span("accept", id, _Wanted(trace, _root_of(id)), (trace, above), facts)
        if not self._chosen(id):
            return _NOTHING
        return self._span("accept", id, _Wanted(_trace_of(id), _root_of(id)), None, facts)

    def step(self, name: str, id: str, **facts: str | int | float | bool) -> AbstractContextManager[Span]:
        """A later step of the message of envelope ``id``: a part of the step that is under way, else a child of its acceptance."""
        if self._tracer is None:
            return _NOTHING
        under, joined = _under_way.get(), self._joined.get(id)
        if joined is None and not self._chosen(id):
            return _NOTHING
        parent = (joined or _trace_of(id), _root_of(id)) if under is None or under.id != id else (under.trace, under.span)
        return self._span(name, id, None, parent, facts)

    @contextmanager
    def _span(
        self,
        name: str,
        id: str,
        own: "_Wanted | None",
        parent: tuple[int, int] | None,
        facts: dict[str, str | int | float | bool],
    ) -> Iterator[Span]:
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

        context = Context()
        if parent is not None:
            above = SpanContext(parent[0], parent[1], True, TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(above), context)
        token = _wanted.set(own)
        try:
            span = self._tracer.start_span(f"mailx.{name}", context, SpanKind.INTERNAL)
        finally:
            _wanted.reset(token)
        traced = _Traced(span)
        traced.note(message_id=id, **facts)
        before = _under_way.get()
        if own is None:
            made = span.get_span_context()
            _under_way.set(_UnderWay(id, made.trace_id, made.span_id))
        try:
            yield traced
        except BaseException as error:
            traced.fail(str(error.reply.code) if isinstance(error, Refused) else type(error).__name__)
            raise
        finally:
            _under_way.set(before)
            span.end()

    def _chosen(self, id: str) -> bool:
        """Whether this message is among those of a hundred that are traced: the same answer at each of its steps."""
        return _digest(id)[-1] % 100 < self._percent


@frozen
class _Wanted:
    """The ids that the next span is to have."""

    trace: int
    span: int


@frozen
class _UnderWay:
    """The step that runs, of the message of envelope ``id``."""

    id: str
    trace: int
    span: int


_wanted: ContextVar[_Wanted | None] = ContextVar("mailx_span", default=None)
_under_way: ContextVar[_UnderWay | None] = ContextVar("mailx_step", default=None)


def _close(provider: Any) -> None:
    provider.force_flush(int(_FLUSH_SECONDS * 1000))
    provider.shutdown()


def _digest(id: str) -> bytes:
    return blake2b(id.encode("utf-8", "replace"), digest_size=25, person=b"mailx trace").digest()


def _trace_of(id: str) -> int:
    return int.from_bytes(_digest(id)[:16], "big") or 1


def _root_of(id: str) -> int:
    return int.from_bytes(_digest(id)[16:24], "big") or 1


class _Told(logging.Handler):
    """What the library complains of goes to the log, without its text, which may quote somebody's answer."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            log.warn("Traces were not posted", event="traces.not_posted", module=record.name)


class _Ids:
    """Ids of traces and spans: those that are wanted, else random ones (the SDK's ``IdGenerator``)."""

    def generate_trace_id(self) -> int:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        wanted = _wanted.get()
        return RandomIdGenerator().generate_trace_id() if wanted is None else wanted.trace

    def generate_span_id(self) -> int:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        wanted = _wanted.get()
        return RandomIdGenerator().generate_span_id() if wanted is None else wanted.span

    def is_trace_id_random(self) -> bool:
        return False
