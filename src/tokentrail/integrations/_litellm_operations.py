"""Operations: attempts that serve one wish of the caller, by retry or fallback."""

from __future__ import annotations

from typing import Any, Final

from tokentrail.integrations._litellm_details import Details, describe, is_private, metadata_of, text_of
from tokentrail.integrations._litellm_shelf import Shelf

_TRIES: Final = "_tokentrail_tries"

Tries = tuple[int, str | None, str | None]
"""Attempts so far, the model of the last, and the operation they serve."""
NONE_YET: Final[Tries] = (0, None, None)
_routed: Final[Shelf[str, Tries]] = Shelf()
"""Attempts of the Router's operations, by trace id."""


def fields_of(
    details: Details, kind: str, requested: str | None, tries: Tries
) -> tuple[dict[str, Any], Tries]:
    """The fields of a call at its start, its place among the attempts of one operation included.

    Args:
        details: LiteLLM's `model_call_details`.
        kind: the `call_type`.
        requested: the model as the caller wrote it, if that is known.
        tries: the attempts before, as this function returned them.
    """
    fields = describe(details, kind, requested)
    model: str | None = fields.get("requested_model")
    call = text_of(details.get("litellm_call_id"))
    trace = text_of(details.get("litellm_trace_id")) or call
    metadata = metadata_of(details)
    routed = trace if "model_group" in metadata else None
    if routed is not None:
        # The Router makes a new logging object for each attempt, and one trace id for all of them.
        before = metadata.get("previous_models")
        tries = (_routed.get(routed) or _told_by(before)) if before else NONE_YET
    made, previous, operation = tries
    if operation is None:
        # Not the trace id: a caller may give one to a whole conversation.
        operation = call or trace
    if not is_private(details):
        fields["operation_id"] = operation
    fields["attempt"] = made + 1
    fields["attempt_kind"] = "first" if not made else "retry" if previous in (None, model) else "fallback"
    if routed is not None:
        _routed.put(routed, (made + 1, model, operation))
    return fields, (made + 1, model, operation)


def _told_by(previous: object) -> Tries:
    """The attempts that the Router has noted, where it gives the next one another trace id."""
    if not isinstance(previous, (list, tuple)) or not previous or not isinstance(previous[-1], dict):
        return NONE_YET
    last = previous[-1]
    return len(previous), text_of(last.get("model_group") or last.get("model")), None


def tries_of(logging: Any) -> Tries:
    """The attempts that were made under a logging object."""
    tries: Tries = getattr(logging, _TRIES, NONE_YET)
    return tries


def note_tries(logging: Any, tries: Tries) -> None:
    """Remember them there: plain data, because LiteLLM copies and pickles that object."""
    setattr(logging, _TRIES, tries)
