"""How sequences are sampled in tests that are not about sampling."""

from llamawire_server.engine.sequence import SamplingParameters

GREEDY = SamplingParameters(
    temperature=0,
    top_p=1,
    top_k=0,
    min_p=0,
    frequency_penalty=0,
    presence_penalty=0,
    repeat_penalty=1,
    seed=0,
    logit_bias={},
)
