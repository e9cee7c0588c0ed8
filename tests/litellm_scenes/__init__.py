"""Every way in which a call through LiteLLM can go, as a table: what was sent, and what the row must say."""
