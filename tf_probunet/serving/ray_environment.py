"""What Ray must find in the environment before it is imported."""

import os
import secrets


def prepare(private: bool) -> None:
    """Sets Ray's environment; call it before anything imports Ray.

    Args:
        private: whether a cluster of this machine's own is to be started. Its internal ports listen on every
            interface; with the token that is made here nobody else can use them.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    if private:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
