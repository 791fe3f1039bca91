"""The page, and how a browser comes to its session.

GET   /                  the page; with the one-time `key`, a session as well
POST  /api/v1/session    a session for whoever has the token
"""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter, SkipValidation

from services.api.door.sessions import OneTimeKey, Sessions
from services.api.routes.scope import OPEN, AnyRequest, Tenant, documented, failures

PAGE: Final = (Path(__file__).parent.parent / "page.html").read_text(encoding="utf-8")
SPENT: Final = "/#spent"  # the page says that the link was used, unless there is a session already

SessionsOf = NamedDependency[SkipValidation[Sessions]]
KeyOf = NamedDependency[SkipValidation[OneTimeKey]]


def _hashes(tag: str) -> str:
    """Return the sources of a content security policy that allow the page's own `tag` alone."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(i.encode()).digest()).decode()}'" for i in inline)


POLICY: Final = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@get(
    "/",
    media_type="text/html",
    summary="Open the page",
    responses={
        303: ResponseSpec(None, description="The key was tried; on to the page."),
        **documented(400, 403),
    },
    security=OPEN,
)
async def page(
    request: AnyRequest,
    sessions: SessionsOf,
    one_time_key: KeyOf,
    key: Annotated[str | None, QueryParameter(description="Of the one-time link.")] = None,
) -> Response[str]:
    """Return the page, which shows nothing without a session; spend the key where there is one."""
    if key is None:
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})
    if not one_time_key.use(key):
        return Response("", status_code=303, headers={"Location": SPENT}, media_type="text/html")
    headers = {"Location": "/", "Set-Cookie": sessions.cookie(secure=_is_secure(request))}
    return Response("", status_code=303, headers=headers, media_type="text/html")


@post(
    "/session",
    status_code=204,
    summary="Begin a browser session",
    responses=failures(),
    response_headers=[],
)
async def begin_session(
    request: AnyRequest,
    tenant: Tenant,  # noqa: ARG001 - whoever has none is refused
    sessions: SessionsOf,
) -> Response[None]:
    """Give the caller, who has the token, a cookie that stands for it."""
    cookie = sessions.cookie(secure=_is_secure(request))
    return Response(None, status_code=204, headers={"Set-Cookie": cookie})


def _is_secure(request: AnyRequest) -> bool:
    """Tell whether the browser speaks TLS, to us or to a proxy: it says so itself."""
    return request.headers.get("origin", "").startswith("https://")
