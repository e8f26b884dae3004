"""The small kit our web pages are made with: templates, live fragments, guarded forms. Needs the extra `ui`."""
