"""The application: routes, dependencies and errors, behind the entrance."""

from typing import Final

from litestar import Litestar, Response, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from services.api.door.cross_origin import CrossOrigin
from services.api.door.gate import Gate
from services.api.door.sessions import OneTimeKey, Sessions
from services.api.entrance import Entrance
from services.api.faults import ErrorBody, answer_to
from services.api.metrics import Meter
from services.api.options import ApiOptions, access_token
from services.api.routes import (
    agents,
    conversations,
    dead,
    documents,
    files,
    forks,
    goals,
    health,
    jobs,
    memories,
    messages,
    page,
    people,
    stream,
    tasks,
)
from services.api.routes.scope import AnyRequest, dependencies
from services.runtime.process import Process
from services.runtime.tasks.desk import Desk

LARGEST_BODY: Final = 8 * 1024 * 1024  # bytes; the longest message, escaped
BASE: Final = "/api/v1"
CONVERSATION: Final = "/agents/{agent:str}/conversations/{conversation:str}"
A_FORK: Final = "/agents/{agent:str}/forks/{conversation:str}"


def create_app(process: Process, options: ApiOptions) -> ASGIApp:
    """Return the application of one process.

    Args:
        process: Whose log, read models and configuration it shows.
        options: How it is opened, and the one-time key.
    """
    config = process.config
    token = access_token(config)
    sessions = Sessions(token, config.port, process.clock)
    meter = Meter()
    gate = Gate(
        config.api,
        tenant=config.tenant,
        port=config.port,
        local=options.is_local(config),
        token=token,
        sessions=sessions,
    )
    given = {
        "meter": meter,
        "sessions": sessions,
        "one_time_key": OneTimeKey(options.link_key),
    }
    application = create_routes(process, given)
    cross_origin = CrossOrigin(config.api.allowed_origins)
    return Entrance(application, gate, cross_origin, meter, process.clock)


def create_routes(process: Process, given: dict[str, object]) -> Litestar:
    """Return the routes, without the gate before them.

    Args:
        process: What they read from and write to.
        given: More that they are handed by name: `meter`, `sessions`, `one_time_key`.
    """
    desk = Desk(process.writer("api"), process.bodies)
    about_one = (messages, conversations, files, stream)
    of_one = [route for module in about_one for route in module.routes]
    conversation = Router(CONVERSATION, route_handlers=of_one)
    a_fork = Router(A_FORK, route_handlers=of_one, dependencies={"place": Provide(forks.fork_of)})
    return Litestar(
        route_handlers=[
            page.page,
            *health.probes,
            Router(
                BASE,
                route_handlers=[
                    *agents.routes,
                    *dead.routes,
                    *jobs.routes,
                    *health.routes,
                    page.begin_session,
                    conversation,
                    *forks.routes,
                    a_fork,
                    *people.routes,
                    documents.routes(process),
                    memories.router(process),
                    tasks.router(desk),
                    goals.router(desk),
                ],
            ),
        ],
        dependencies=dependencies(process) | {name: _giving(it) for name, it in given.items()},
        exception_handlers={Exception: _answer},
        request_max_body_size=LARGEST_BODY,
        openapi_config=_documentation(),
        logging_config=None,
    )


def _giving(given: object) -> Provide:
    def give() -> object:
        return given

    return Provide(give, sync_to_thread=False)


def _answer(_: AnyRequest, error: Exception) -> Response[ErrorBody]:
    answer = answer_to(error)
    return Response(answer.body(), status_code=answer.status, headers=answer.headers)


def _documentation() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Penstock",
        version="1",
        description="Say something to an agent, and follow what comes of it.",
        path=BASE,
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}
        ),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
    )
