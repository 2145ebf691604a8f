"""What is kept of every answer: rows in the lake by way of a spool, and stored responses."""
