"""A FastAPI app that calls a model, and shows what its users consumed to those whom the app itself lets in.

Serve it with OPENAI_API_KEY set:  uvicorn fastapi_app:app
Or let it ask itself once:         python fastapi_app.py
"""

from typing import Annotated

import litellm
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.testclient import TestClient

import tokentrail
from tokentrail.server import Access, create_router

tokentrail.install()
app = FastAPI()

# The app's own authentication: whoever that is, here names and passwords.
PASSWORDS = {"alice": "wonderland", "bob": "builder"}


def current_user(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    if PASSWORDS.get(given.username) != given.password:
        raise HTTPException(401, "Who are you?")
    return given.username


@app.post("/chat")
async def chat(user: Annotated[str, Depends(current_user)], question: str) -> str:
    with tokentrail.context(user_id=user):
        answer = await litellm.acompletion(
            model="openai/gpt-4o-mini", messages=[{"role": "user", "content": question}]
        )
    return answer.choices[0].message.content


# Each user sees their own calls, and no one else's.
def own_calls(user: Annotated[str, Depends(current_user)]) -> Access:
    return Access(scopes={"read"}, where={"user_id": user})


app.include_router(create_router(tokentrail.get_tracker(), access=own_calls), prefix="/usage")


if __name__ == "__main__":
    with TestClient(app) as client:
        for user, calls in (("alice", 2), ("bob", 1)):
            client.auth = (user, PASSWORDS[user])
            for _ in range(calls):
                client.post("/chat", params={"question": "Say hello."}).raise_for_status()
        for user in PASSWORDS:
            client.auth = (user, PASSWORDS[user])
            used = client.get("/usage/api/v1/usage-stats").json()
            print(f"{user}: {used['total_requests']} calls, {used['total_tokens']} tokens")
