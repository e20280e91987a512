"""Accounts and numbers: directory, authentication, quota, changes, provisioning."""
