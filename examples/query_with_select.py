"""The ledger is a table: ask it with SQLModel's `select`, beside the questions that come with it.

Needs no key and no network: it records three calls of its own and asks about them.
"""

import tempfile
from pathlib import Path

from sqlmodel import Session, create_engine, func, select

import tokentrail
from tokentrail.models import LLMCall

with tempfile.TemporaryDirectory() as folder:
    url = f"sqlite:///{Path(folder) / 'usage.db'}"

    with tokentrail.Tracker(url, client_id="my_app") as tracker:
        for user, prompt, completion in [("alice", 1200, 300), ("alice", 800, 150), ("bob", 4000, 90)]:
            tracker.record(
                model="gpt-4o-mini",
                provider="openai",
                user_id=user,
                usage={"prompt_tokens": prompt, "completion_tokens": completion},
                duration_ms=640,
            )

    engine = create_engine(url)
    with Session(engine) as session:
        long_prompts = session.exec(select(LLMCall).where(LLMCall.input_tokens > 1000)).all()
        print("long prompts:", [(call.user_id, call.input_tokens, call.cost_usd) for call in long_prompts])

        by_user = select(LLMCall.user_id, func.sum(LLMCall.total_tokens)).group_by(LLMCall.user_id)
        for user, tokens in session.exec(by_user):
            print(user, tokens)
    engine.dispose()
