"""Fixtures that every test may use."""

from tests.support.read_models import pool  # noqa: F401 - found by name
from tests.support.servers import (  # noqa: F401 - found by name
    database_url,
    empty_nats_url,
    nats_cluster,
    nats_server,
    nats_url,
    own_nats,
    own_postgres,
    postgres_server,
)
