"""Fixtures that every test may use."""

from hypothesis import HealthCheck, settings

from tests.support.model_folder import FOLDER  # noqa: F401 - cleans the environment
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

# How fast this machine is at the moment is no property of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
