"""The demo: sample faces through a real server, shown as tables, pictures and one page."""
