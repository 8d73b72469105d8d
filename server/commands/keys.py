"""`public-key`: print the key with which auditors verify the record log."""

from server.commands.options import Config, PositionalConfig, single_config
from server.commands.output import print_line
from server.config import read_settings


def public_key(positional: PositionalConfig = None, config: Config = None) -> None:
    """Print the record log's public key. Deliver the key to auditors out of band, by a channel the server cannot influence."""
    from server.maintenance.doctor import read_verifier_key

    print_line(read_verifier_key(read_settings(single_config(config, positional))).text())
