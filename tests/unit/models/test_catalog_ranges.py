"""models.yaml: which values a setting can have."""

from __future__ import annotations

import pytest

OUT_OF_RANGE = [
    ("context_length", "0", "[1, 2,147,483,647]"),
    ("context_length", "4096.0", "a whole number, not a number"),
    ("context_length", "true", "a whole number, not true or false"),
    ("context_length", "'8'", "a whole number, not text"),
    ("parallel", "0", "[1, 256]"),
    ("parallel", "257", "[1, 256]"),
    ("kv_cache_tokens", "0", "[1, "),
    ("token_interval_seconds", "0", "[0.001, 60]"),
    ("token_interval_seconds", "100ms", "must be a number of seconds, not text: '100ms'"),
    ("max_queued_tokens", "0", "[1, "),
    ("prompt_cache", "1", "must be true or false, not a whole number"),
    ("prompt_lookup", "'on'", "must be true or false, not text"),
    ("draft_model", "true", "must be text, not true or false"),
    ("draft_model", "''", "is empty"),
    ("threads", "0", "[1, "),
    ("gpu_layers", "-2", "[-1, "),
    ("keep_alive", ".nan", "must be a finite number"),
    ("keep_alive", ".inf", "must be a finite number"),
    ("keep_alive", "5m", "must be a number of seconds, not text: '5m'"),
    ("pinned", "1", "must be true or false, not a whole number"),
    ("pinned", "!!bool x", "must be true or false"),
    ("preload", "'yes'", "must be true or false, not text"),
    ("chat_template", "3", "must be text, not a whole number"),
    ("reasoning_format", "[a]", "must be text, not a list"),
    ("reasoning_format", "deepseek", "granite or seed, not 'deepseek'"),
    ("reasoning_format", "thinks", "not 'thinks'; did you mean 'think'?"),
    ("defaults", "{temperature: 2.1}", "[0, 2]"),
    ("defaults", "{temperature: -0.1}", "[0, 2]"),
    ("defaults", "{top_p: 1.1}", "[0, 1]"),
    ("defaults", "{top_k: -1}", "[0, 2,147,483,647]"),
    ("defaults", "{min_p: 1.1}", "[0, 1]"),
    ("defaults", "{frequency_penalty: 3}", "[-2, 2]"),
    ("defaults", "{presence_penalty: -3}", "[-2, 2]"),
    ("defaults", "{repeat_penalty: 0}", "(0, 10]"),
    ("defaults", "{repeat_penalty: 11}", "[0, 10]"),
    ("defaults", "{max_tokens: 0}", "[1, "),
]


@pytest.mark.parametrize(("key", "value", "reason"), OUT_OF_RANGE)
def test_a_value_that_a_setting_can_not_have(mistake, key, value, reason):
    error = mistake(f"a:\n  path: x.gguf\n\n  {key}: {value}\n")

    assert error.line == 4
    assert error.message.startswith(f"model a: {key}")
    assert reason in error.message


IN_RANGE = [
    ("parallel", "1", 1),
    ("parallel", "256", 256),
    ("gpu_layers", "-1", -1),
    ("keep_alive", "0", 0.0),
    ("keep_alive", "-1", -1.0),
    ("keep_alive", "2.5", 2.5),
    ("pinned", "false", False),
    ("preload", "true", True),
]


@pytest.mark.parametrize(("key", "value", "expected"), IN_RANGE)
def test_a_value_at_the_edge_of_its_range(load, key, value, expected):
    settings = load(f"a: {{path: x.gguf, {key}: {value}}}").entries["a"].settings

    assert getattr(settings, key) == expected
