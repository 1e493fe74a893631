"""How well a model predicts a real text: its perplexity, and the texts it is measured on."""

import importlib
from math import exp
from pydoc_data.topics import topics

import torch

from golden.block_sparse import BlockSparse
from golden.language_model import LanguageModel
from golden.transformer import IntegerTransformer

TOKENS = 1024
"""Tokens that a perplexity is measured on."""

_CALIBRATION_MODULES = (
    *("argparse", "ast", "collections", "configparser", "contextlib", "csv", "dataclasses"),
    *("datetime", "decimal", "difflib", "dis", "doctest", "email", "enum", "fractions"),
    *("functools", "heapq", "inspect", "json", "locale", "logging", "optparse", "pickle"),
)
_AT_ONCE = 128


def evaluation_text() -> str:
    """Return the help topics of CPython's `pydoc`, joined by line breaks."""
    return "\n".join(topics.values())


def calibration_text() -> str:
    """Return the docstrings of some modules of CPython's library, joined by line breaks."""
    modules = (importlib.import_module(name) for name in _CALIBRATION_MODULES)
    return "\n".join(module.__doc__ or "" for module in modules)


def first_tokens(model: LanguageModel, text: str, count: int = TOKENS) -> torch.Tensor:
    """Return the first tokens of a text, int64 [1, count]."""
    # No token stands for more than 16 letters on average; the rest need not be looked at.
    return model.tokens(text[: 16 * count])[:, :count]


def float_perplexity(model: LanguageModel, tokens: torch.Tensor) -> float:
    """Return exp of the mean loss over all tokens but the first, of [1, tokens]."""
    with torch.no_grad():
        logits = model.network(tokens).logits[0]
    return exp(float(_losses(logits[:-1], tokens[0, 1:]).mean()))


def integer_perplexity(
    model: IntegerTransformer, tokens: torch.Tensor, blocks: BlockSparse | None = None
) -> float:
    """Return the same of an integer model.

    Args:
        blocks: that the tokens see of those in front of them; all, if nothing is said.
    """
    tokens = tokens.flatten()
    hidden = model.hidden(tokens, blocks=blocks)[:-1]
    unit = 2.0**-model.logit_fraction
    losses = [
        _losses(model.logits(some) * unit, expected)
        for some, expected in zip(hidden.split(_AT_ONCE), tokens[1:].split(_AT_ONCE), strict=True)
    ]
    return exp(float(torch.cat(losses).mean()))


def _losses(logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits.double(), expected, reduction="none")
