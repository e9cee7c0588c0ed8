"""The stats API: HTTP over the same answers (extra `server`).

from tokentrail.server import create_app, create_router

app = create_app(tracker)                       # to be served or mounted; behind a token
app.include_router(create_router(tracker, dependencies=[Depends(current_user)]))    # in an app of yours
"""

from tokentrail.errors import needs

with needs("fastapi", "starlette", "prometheus_client", "anyio", extra="server"):
    from tokentrail.server._access import Access
    from tokentrail.server._app import create_app
    from tokentrail.server._router import create_router

__all__ = ["Access", "create_app", "create_router"]
