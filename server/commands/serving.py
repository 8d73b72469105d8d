"""`serve`: run the server."""

import asyncio

from server.application_log import configure_logging
from server.commands.new_files import log_new_files
from server.commands.options import Config, PositionalConfig, single_config
from server.config import read_settings


def serve(positional: PositionalConfig = None, config: Config = None) -> None:
    """Verify the active bundles, listen on a loopback address, serve until SIGTERM, and drain before exiting."""
    from server.application import serve as serve_until_stopped

    settings = read_settings(single_config(config, positional))
    configure_logging()
    log_new_files(settings)
    asyncio.run(serve_until_stopped(settings))
