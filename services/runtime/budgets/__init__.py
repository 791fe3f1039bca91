"""Budgets: what model calls may use in a day or a month, reserved before each of them."""
