"""The server of Weights & Biases and where its key is, found as the client finds them, but without loading it."""

import configparser
import netrc
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

HOST = "https://api.wandb.ai"
"""W&B's own server."""


def find_host(environment: Mapping[str, str]) -> str:
    """Return the address of the server: of the environment, else of W&B's settings, else its own."""
    if host := environment.get("WANDB_BASE_URL"):
        return host
    home = environment.get("HOME", "")
    for folder in (Path("wandb"), Path(environment.get("WANDB_CONFIG_DIR") or Path(home, ".config", "wandb"))):
        settings = configparser.ConfigParser(interpolation=None)
        try:
            settings.read(folder / "settings")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        if host := settings.get("default", "base_url", fallback=""):
            return host
    return HOST


def find_key(host: str, environment: Mapping[str, str]) -> str:
    """Return where the key is that W&B would use for a server; "" if there is none.

    Raises:
        OSError: The file with passwords cannot be read.
        netrc.NetrcParseError: It is damaged.
    """
    if environment.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    file = netrc_file(environment)
    if not file.exists():
        return ""
    return str(file) if netrc.netrc(file).authenticators(urlsplit(host).netloc) else ""


def netrc_file(environment: Mapping[str, str]) -> Path:
    """Return the file of passwords that the client reads, whether or not there is one."""
    if named := environment.get("NETRC"):
        return Path(named).expanduser()
    usual, other = (Path(environment.get("HOME", "/"), name) for name in (".netrc", "_netrc"))
    return usual if usual.exists() or not other.exists() else other
