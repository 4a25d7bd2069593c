"""What Ray must find in the environment before it is imported, for a cluster of this machine's own."""

import importlib.util
import os
import secrets


def prepare() -> None:
    """Sets Ray's environment; call it before anything imports Ray.

    Ray's internal ports listen on every interface; with the token that is made here nobody else can use them.

    Raises:
        ImportError: what the extra "serving" brings is not installed.
    """
    for name in ("ray", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"probunet serve needs {name}: pip install 'tf_probunet[serving]'.")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
    os.environ["RAY_worker_niceness"] = "0"  # replicas are no background work
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
