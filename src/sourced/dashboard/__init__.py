"""The dashboard: what an app does, why anything waits, and what to do about it, in a browser.

`sourced ui shop:app` serves it on this machine; `Mount("/sourced", dashboard(app, access=…))` makes it part of yours.
"""

try:
    from sourced.dashboard.access import Access, Right, loopback
    from sourced.dashboard.site import dashboard
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] == "sourced":
        raise
    needed = f"sourced.dashboard needs more than the core: pip install 'sourced-py[ui]' ({missing})"
    raise ModuleNotFoundError(needed, name=missing.name) from missing

__all__ = ["Access", "Right", "dashboard", "loopback"]
