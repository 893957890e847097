"""The pages of the service, which load nothing from other hosts.

FastAPI's own documentation loads its JavaScript from another host, so /docs is a page of this package that shows the
same /openapi.json.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi.responses import HTMLResponse


def page(name: str) -> Callable[[], Awaitable[HTMLResponse]]:
    """Return the route of a page that may run only its own script and contact only this service."""
    html = Path(__file__).with_name(name).read_text()
    blocks = {
        tag: "".join(
            f" 'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'"
            for block in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src{blocks['script']}; style-src{blocks['style']}; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def route() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    return route
