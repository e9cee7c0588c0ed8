"""Give a LangChain call the handler, and its tokens, cost and latency are in a file of yours.

Run it with OPENAI_API_KEY set:  python langchain_quickstart.py
"""

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

import tokentrail
from tokentrail.integrations.langchain import TokentrailCallbackHandler

tracker = tokentrail.Tracker("sqlite:///langchain_usage.db", client_id="quickstart")
handler = TokentrailCallbackHandler(tracker)

# stream_usage asks for the usage of streams, which LangChain leaves out for a base URL of your own.
model = ChatOpenAI(model="gpt-4o-mini", stream_usage=True)
chain = ChatPromptTemplate.from_template("A haiku about {topic}.") | model

with tokentrail.context(user_id="bob"):
    print(chain.invoke({"topic": "ledgers"}, config={"callbacks": [handler]}).content)
    for chunk in chain.stream({"topic": "rivers"}, config={"callbacks": [handler]}):
        print(chunk.content, end="")
    print()

for call in tracker.stats.calls(limit=10).items:
    print(call.model, call.input_tokens, call.output_tokens, call.cost_usd, f"{call.duration_ms:.0f} ms")
tracker.close()
