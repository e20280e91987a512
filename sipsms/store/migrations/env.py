"""Run by Alembic: migrate the connection that `engine.ensure_schema` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from sipsms.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
