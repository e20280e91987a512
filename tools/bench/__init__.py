"""`python -m tools.bench`: how fast sipsms is, and Kamailio doing the same job beside it, in the same run."""
