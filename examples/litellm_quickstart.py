"""Every LiteLLM call of this program is a row in a local database.

Run it with OPENAI_API_KEY set:  python litellm_quickstart.py
"""

import litellm

import tokentrail

tokentrail.install()

with tokentrail.context(user_id="alice", session_id="quickstart"):
    answer = litellm.completion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "Say hello in five languages."}],
    )
    print(answer.choices[0].message.content)

    for chunk in litellm.completion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "And goodbye."}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="")
    print()

stats = tokentrail.get_tracker().stats
for item in stats.breakdown(by="model").items:
    print(f"{item.key}: {item.calls} calls, {item.total_tokens} tokens, {item.cost_usd} dollars")
