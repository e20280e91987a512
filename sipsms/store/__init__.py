"""The store: all SQL (SQLAlchemy Core; SQLite embedded, PostgreSQL by URL).

No other package builds statements.
"""
