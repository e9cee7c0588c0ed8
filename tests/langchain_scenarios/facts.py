"""What LangChain does that a ledger must know, each found by running it, and where it is tested.

Scenarios name the facts that they show; the tests named here show the rest, and the details.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parents[1]


class Fact(NamedTuple):
    """One thing that LangChain does, and tests that show it: `door::test_threads` and so on."""

    says: str
    tests: tuple[str, ...] = ()


def _numbered(*facts: Fact) -> Mapping[int, Fact]:
    return dict(enumerate(facts, 1))


FACTS: Final = _numbered(
    Fact(
        "A model asked whole has a start and an end.",
        ("door::test_invoke_is_a_row_with_cache_reasoning_and_the_right_price",),
    ),
    Fact(
        "A stream has a start, tokens and an end; the kinds of the answer's objects do not tell it.",
        (
            "door::test_stream_usage_wherever_it_comes",
            "quirks::test_ollama_reads_a_stream_whatever_was_asked",
        ),
    ),
    Fact(
        '`streaming=True`, `astream_events` and `stream_mode="messages"` make streams of whole calls.',
        (
            "door::test_graph_that_streams_messages",
            "door::test_astream_events",
        ),
    ),
    Fact("`stream_events` version 3 sends tokens and events for one call.", ("door::test_stream_events_v3",)),
    Fact("`batch` and `abatch` are a run for each input.", ("door::test_batch_abatch_and_generate",)),
    Fact(
        "`generate` starts all of its runs before it sends the first.",
        ("two_doors::test_generate_of_several_prompts",),
    ),
    Fact(
        "A completion model's batch is one request; the first run has all of its usage.",
        ("door::test_completion_model_and_its_batch",),
    ),
    Fact(
        "Structured output is a chain around an ordinary run of the model.", ("door::test_structured_output",)
    ),
    Fact(
        "Each attempt of `with_retry` is a run of its own; streams are not tried again.",
        (
            "door::test_retry_links_its_attempts",
            "door::test_retry_of_a_chain",
        ),
    ),
    Fact(
        "Each model of `with_fallbacks` is a run of its own, beside the chain and not below it.",
        (
            "door::test_fallbacks_keep_both_models",
            "door::test_async_fallbacks_and_batches",
        ),
    ),
    Fact("Retries inside a provider's SDK reach nobody."),
    Fact(
        "Embeddings have no callbacks.",
        (
            "embeddings::test_each_method_is_a_row",
            "embeddings::test_through_litellm_is_one_row_with_its_usage",
        ),
    ),
    Fact("A stream that nobody reads has not been started."),
    Fact(
        "A hit in the response cache has a start and an end, with the usage of the first call.",
        (
            "door::test_cache_hit_costs_nothing",
            "door::test_cache_hit_without_usage",
            "door::test_one_message_object_returned_twice_is_no_cache_hit",
        ),
    ),
    Fact("A hit of a completion model in the response cache has no hooks."),
    Fact(
        "One config with a `run_id`, used again, gives two calls one id.",
        (
            "door::test_run_id_used_again_is_another_call",
            "door::test_run_id_used_twice_at_once",
        ),
    ),
    Fact(
        "A slow reader's time lies before the end of the run.",
        ("door::test_time_a_reader_takes_after_the_last_chunk_is_not_the_providers",),
    ),
    Fact(
        "Messages and chunks in hooks are the caller's own objects.",
        ("door::test_messages_and_chunks_stay_as_they_are",),
    ),
    Fact(
        "The usage of chunks is added up, also where each holds the running total.",
        ("quirks::test_usage_of_chunks_is_reconciled",),
    ),
    Fact("Names in chunks are joined: `gpt-4ogpt-4o`.", ("door::test_names_are_never_joined",)),
    Fact(
        "A stream whose usage nobody asked for has none.",
        ("door::test_stream_without_usage_is_unknown_and_not_zero",),
    ),
    Fact("Totals may be absent, 0, stale or below their parts.", ("quirks::test_repaired_wholes",)),
    Fact(
        "0/0/0, None and counts of null are written where nothing was sent.",
        (
            "quirks::test_nothing_reported_is_unknown",
            "quirks::test_zeros_that_the_server_sent_are_told_from_none",
        ),
    ),
    Fact("A usage of the wrong type fails the call.", ("quirks::test_repaired_wholes",)),
    Fact(
        "Each of `n` choices carries the whole usage, and no model's name.",
        ("door::test_two_choices_are_counted_once",),
    ),
    Fact(
        "An answer that was paid for may end as an error; its usage is then in the error.",
        ("door::test_structured_output_that_fails_after_being_paid",),
    ),
    Fact(
        "The first tokens are often empty; pieces of a tool call and of reasoning are output.",
        ("door::test_first_token_is_the_first_one_with_something_in_it",),
    ),
    Fact(
        "A stream that is closed or dropped ends with GeneratorExit, once it is collected.",
        (
            "door::test_break_and_drop_is_abandoned_with_the_usage_so_far",
            "door::test_kept_reference_ends_when_it_is_let_go",
            "door::test_kept_reference_ends_by_age",
            "door::test_loop_body_that_raises_is_abandoned",
            "door::test_reader_who_stops_at_the_usage_chunk_has_full_usage",
        ),
    ),
    Fact(
        "A chain's or agent's stream that is closed early reads its model to the end.",
        ("door::test_chain_stream_closed_early_reads_on_and_succeeds",),
    ),
    Fact(
        "An agent's asynchronous stream that is closed early says nothing of its model.",
        ("door::test_agent_stream_closed_early",),
    ),
    Fact(
        "A cancelled task that reads a stream ends it with CancelledError.",
        (
            "door::test_cancelled_task_in_astream",
            "door::test_caller_whose_task_ends_after_a_stream_was_handed_on",
        ),
    ),
    Fact(
        "A cancelled `ainvoke` or `abatch` says nothing, ever.",
        (
            "door::test_cancelled_task_in_ainvoke",
            "door::test_wait_for_and_timeout_of_the_caller",
            "door::test_cancelled_streaming_ainvoke_and_abatch",
            "door::test_cancelled_chain_and_task_group",
            "door::test_agent_cancelled",
        ),
    ),
    Fact(
        "`generate` that fails at one input says nothing of the others.",
        (
            "door::test_generate_with_one_bad",
            "door::test_agenerate_with_one_bad",
        ),
    ),
    Fact(
        "`stream_events` version 3 that is given up says nothing.", ("door::test_stream_events_v3_given_up",)
    ),
    Fact(
        "What fails or takes too long is told, with the answer so far.",
        (
            "door::test_429_is_one_error_row",
            "door::test_client_timeout",
            "door::test_stream_that_breaks_off",
            "quirks::test_error_in_a_stream_keeps_the_usage_so_far",
            "quirks::test_status_by_what_was_raised",
        ),
    ),
    Fact(
        "A program's end tells some calls after all exit hooks, and some never.",
        (
            "exit::test_half_read_stream",
            "exit::test_exit_inside_the_loop",
            "exit::test_no_clean_up_at_all",
            "exit::test_loop_that_ends",
            "exit::test_daemon_thread",
            "exit::test_answer_whose_end_was_cancelled",
            "exit::test_half_read_events",
            "exit::test_fork",
            "exit::test_ctrl_c",
            "exit::test_kill",
        ),
    ),
    Fact(
        "Another handler that raises keeps the end of a run from us.",
        ("door::test_rude_handlers_leave_no_call_open",),
    ),
    Fact(
        "The same handler twice hears everything twice, with one id.",
        (
            "door::test_duplicates_are_one_row",
            "door::test_duplicates_in_async_code",
            "door::test_other_tracker_has_its_own_row",
        ),
    ),
    Fact(
        "Handlers are copied, hashed and told to ignore starts.",
        (
            "door::test_copies_are_the_handler_itself",
            "door::test_end_without_a_start_is_a_row",
        ),
    ),
    Fact(
        "Handlers that are not inline miss the start of asynchronous completions if another one is.",
        ("facts::test_inline_handlers_beside_ours",),
    ),
    Fact(
        "LangChain's config reaches its own threads and tasks, and no others.",
        (
            "door::test_threads",
            "door::test_parallel_branches_and_inner_calls",
            "install::test_langchain_in_any_thread",
            "facts::test_retriever_that_passes_nothing_on",
        ),
    ),
    Fact(
        "A model's own callbacks are its own; a hook in a context variable is everywhere.",
        (
            "facts::test_constructor_callbacks_stay_with_their_model",
            "facts::test_hook_and_interrupts_without_warnings",
        ),
    ),
    Fact(
        "Runs in graphs carry thread, node and agent in their metadata, and LangChain's own tags.",
        (
            "door::test_agent",
            "facts::test_what_the_caller_said_holds",
            "facts::test_summaries_and_nested_agents_say_whose_they_are",
        ),
    ),
    Fact(
        "Chains repeat old messages with their usage, as inputs and as outputs.",
        ("facts::test_history_is_never_counted_again",),
    ),
    Fact(
        "A graph that pauses runs its node again; retry and fallback middleware make runs of their own.",
        ("door::test_graph_interrupt_is_no_error",),
    ),
    Fact(
        "Subgraphs, `Send`, tasks and the functional API lie under the run that started them.",
        ("facts::test_runs_lie_under_their_root",),
    ),
    Fact(
        "`ChatLiteLLM` reaches LangChain's callbacks and LiteLLM's, with no id in common.",
        (
            "two_doors::test_streams_have_what_the_provider_reported",
            "two_doors::test_batch_and_threads",
            "two_doors::test_cache_hit_reaches_one_door_only",
            "facts::test_router_attempts_are_one_operation",
        ),
    ),
    Fact(
        "Versions differ in their marks of cache hits, and in the prefix of their ids.",
        (
            "quirks::test_response_ids_are_the_providers",
            "facts::test_cache_hit_without_its_mark",
        ),
    ),
)
_FILES: Final = {
    "door": "test_langchain_door.py", "quirks": "test_langchain_quirks.py", "exit": "test_langchain_exit.py",
    "two_doors": "test_two_doors.py", "install": "test_install.py", "facts": "test_langchain_facts.py",
    "embeddings": "test_langchain_embeddings.py",
}  # fmt: skip


def is_there(test: str) -> bool:
    """Whether a test that is named here exists."""
    file, _, name = test.partition("::")
    return name in _functions(_FILES[file])


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))
