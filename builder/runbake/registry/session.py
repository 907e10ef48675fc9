"""An HTTP session that leaves requests' guesses about credentials and proxies out."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests

from runbake.registry.reference import is_loopback
from runbake_serving.contract import VERSION

_PARALLEL = 16


class Session(requests.Session):
    """Proxies and certificates as the environment says; nothing from a .netrc, no cookies."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["User-Agent"] = f"runbake/{VERSION}"
        # A registry's cookie would tie parallel uploads to one upload session's server.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=_PARALLEL)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Drop what was sent to another host; requests would then take a .netrc's word for the new one."""
        elsewhere: bool = self.should_strip_auth(response.request.url, prepared_request.url)  # type: ignore[no-untyped-call]
        if elsewhere:
            prepared_request.headers.pop("Authorization", None)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """What the environment says, save that no proxy stands between this machine and itself."""
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if is_loopback(urlsplit(url).netloc):
            settings["proxies"] = {}
        return settings
