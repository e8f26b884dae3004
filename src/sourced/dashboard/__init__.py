"""The dashboard: what an app does, why anything waits, and what to do about it, in a browser.

`sourced ui shop:app` serves it on this machine; `Mount("/sourced", dashboard(app, access=…))` makes it part of yours.
"""

from sourced.dashboard.access import Access, Right, loopback
from sourced.dashboard.site import dashboard

__all__ = ["Access", "Right", "dashboard", "loopback"]
