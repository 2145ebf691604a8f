"""Alembic's entry: migrates on the connection it is given, in the caller's transaction."""

from alembic import context

from undercroft.ledger.tables import metadata as ledger_tables
from undercroft.trust.tables import metadata as trust_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[ledger_tables, trust_tables],
    # SQLite alters a table by copying it, which this writes for us in later revisions.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
