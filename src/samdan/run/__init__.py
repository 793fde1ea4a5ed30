"""Carrying out a plan: the executor, the ledger of what was done, the steps themselves."""
