"""Local servers that stand in for the services that Oneshot talks to; see README.md."""
