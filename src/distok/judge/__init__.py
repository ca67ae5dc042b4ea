"""A vision-language model as judge, over any OpenAI-compatible endpoint: marks, choices, and the re-description test."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distok.judge.client import Client
    from distok.judge.items import Item, read_items
    from distok.judge.pairwise import compare
    from distok.judge.preference import Vote, bradley_terry, sign_test
    from distok.judge.redescription import redescribe
    from distok.judge.scoring import assess
    from distok.judge.settings import Endpoint

_HOME = {
    "Client": "client",
    "Endpoint": "settings",
    "Item": "items",
    "Vote": "preference",
    "assess": "scoring",
    "bradley_terry": "preference",
    "compare": "pairwise",
    "read_items": "items",
    "redescribe": "redescription",
    "sign_test": "preference",
}

__all__ = [
    "Client",
    "Endpoint",
    "Item",
    "Vote",
    "assess",
    "bradley_terry",
    "compare",
    "read_items",
    "redescribe",
    "sign_test",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok.judge' has no attribute '{name}'")
    return getattr(importlib.import_module(f"distok.judge.{_HOME[name]}"), name)
