"""Routes that write: calls of other programs. Nothing here touches the store; the journal takes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    model_validator,
)

from tokentrail._records import from_us, now_us, to_us
from tokentrail._stats._answers import Answer
from tokentrail.models._columns import TIMES_US
from tokentrail.server._access import WRITE
from tokentrail.server._answering import access_of, as_json, problem, problems
from tokentrail.server._ledger import OFF, Ledger

_FUTURE_US: Final = 3600 * 1_000_000


def _iso(text: object) -> datetime:
    if not isinstance(text, str):
        raise ValueError("is no ISO 8601 time with a zone, such as 2026-01-31T18:00:00Z")
    return datetime.fromisoformat(text)


def _storable(moment: datetime) -> datetime:
    if to_us(moment) not in TIMES_US or to_us(moment) > now_us() + _FUTURE_US:
        raise ValueError("lies in the future, or before 1900")
    return moment


Name = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
LongText = Annotated[str, Field(max_length=16_384, pattern=r"^[^\x00]*$")]
Count = Annotated[int, Strict(), Field(ge=0, le=10**12)]
Flag = Annotated[bool, Strict()]
Milliseconds = Annotated[float, Strict(), Field(ge=0, le=10**10)]
Dollars = Annotated[float, Strict(), Field(ge=0, le=10**6)]
Past = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_storable)]
Id = Annotated[UUID, Field(description="Yours, so that sending it again changes nothing; else one is made.")]


class FinishedCall(BaseModel):
    """A finished call of another program."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    id: Id | None = None
    model: Name
    provider: Name | None = None
    requested_model: Name | None = None
    call_type: Name = "chat"
    status: Literal["success", "error", "cancelled", "timeout", "abandoned", "interrupted"] = "success"
    started_at: Past | None = None
    """Default: now, less the duration."""
    ended_at: Past | None = None
    duration_ms: Milliseconds | None = None
    time_to_first_token_ms: Milliseconds | None = None
    usage: dict[str, JsonValue] | None = None
    """As the provider sent it, in whichever shape; or the counts under our names."""
    cost_usd: Dollars | None = None
    """Default: from the price tables."""
    error_type: Name | None = None
    error_message: LongText | None = None
    is_streaming: Flag = False
    is_byok: Flag | None = None
    cache_hit: Flag | None = None
    finish_reason: Name | None = None
    request_id: Name | None = None
    response_id: Name | None = None
    operation_id: Name | None = None
    attempt: Count | None = None
    parent_id: Name | None = None
    trace_id: Name | None = None
    organization_id: Name | None = None
    project_id: Name | None = None
    client_id: Name | None = None
    user_id: Name | None = None
    agent_id: Name | None = None
    session_id: Name | None = None
    run_id: Name | None = None
    step_id: Name | None = None
    message_id: Name | None = None
    tags: Annotated[list[Name], Field(max_length=64)] = []
    attributes: dict[str, JsonValue] = {}
    message_count: Count | None = None
    input_count: Count | None = None
    tool_use_count: Count | None = None
    tool_result_count: Count | None = None
    tool_call_count: Count | None = None
    request_bytes: Count | None = None
    response_bytes: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> FinishedCall:
        if self.started_at and self.ended_at and self.ended_at < self.started_at:
            raise ValueError("ended_at lies before started_at")
        return self


class Opinion(BaseModel):
    """What a user thinks of an answer."""

    model_config = ConfigDict(extra="forbid")

    feedback_type: Literal["like", "dislike", "cancel"]
    """`cancel` removes what was told under the same id."""
    feedback_id: Name | None = None
    """Yours; told again under the same id, the later counts. Else one is made."""
    call_id: Name | None = None
    message_id: Name | None = None
    feedback_content: LongText | None = None
    inaccurate_reasons: Annotated[list[Name], Field(max_length=64)] = []
    stream_id: Name | None = None
    organization_id: Name | None = None
    project_id: Name | None = None
    client_id: Name | None = None
    user_id: Name | None = None
    agent_id: Name | None = None
    session_id: Name | None = None


class Recorded(Answer):
    """What was written."""

    id: str


def add_writing(router: APIRouter, ledger: Ledger) -> None:
    """Add the routes."""

    @router.post(
        "/calls",
        response_model=Recorded,
        status_code=201,
        responses=problems(413, 415, 422, 503),
        operation_id="record_call",
        tags=["writing"],
    )
    async def record_call(request: Request, call: FinishedCall) -> Response:
        """Record a finished call of another program. Needs the scope `write`.

        Sending the same `id` again changes nothing. The call is on disk when this answers.
        """
        access = access_of(request, WRITE)
        if not ledger.is_enabled:
            return problem(503, OFF)
        fields = access.stamp(_columns(call))
        return as_json(Recorded(id=await ledger.run(_record, ledger, fields)), 201)

    @router.post(
        "/feedback",
        response_model=Recorded,
        status_code=201,
        responses=problems(413, 415, 422, 503),
        operation_id="record_feedback",
        tags=["writing"],
    )
    async def record_feedback(request: Request, opinion: Opinion) -> Response:
        """Record what a user thinks of an answer. Needs the scope `write`."""
        access = access_of(request, WRITE)
        if not ledger.is_enabled:
            return problem(503, OFF)
        fields = access.stamp(opinion.model_dump(exclude_none=True))
        return as_json(Recorded(id=await ledger.run(_record_feedback, ledger, fields)), 201)


def _record_feedback(ledger: Ledger, fields: dict[str, Any]) -> str:
    return ledger.writer().record_feedback(**fields)


def _columns(call: FinishedCall) -> dict[str, Any]:
    told = {name: getattr(call, name) for name in call.model_fields_set}
    fields = {name: value for name, value in told.items() if value is not None}
    if call.id is not None:
        fields["id"] = str(call.id)
    if call.started_at is None:
        duration_us = int((call.duration_ms or 0) * 1000)
        end = now_us() if call.ended_at is None else to_us(call.ended_at)
        fields["started_at"] = from_us(end - duration_us)
    return {"source": "http", **fields}


def _record(ledger: Ledger, fields: dict[str, Any]) -> str:
    return ledger.writer().record(**fields)
