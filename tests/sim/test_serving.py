import time
from dataclasses import dataclass
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import serving as published
from golden.model_shapes import load
from sim.catalogue import load_system
from sim.cost import Cost
from sim.requests import Request, draw_requests
from sim.serving import serve
from sim.serving_machine import ContinuousMachine
from sim.serving_policies import parse_policy, rows
from sim.serving_result import Limits, percentiles, simulate_serving
from sim.serving_times import Times
from sim.simulate import simulate
from sim.system import Footprint
from sim.technique import Emission
from sim.treat import parse, treat
from sim.workload import Pass, Workload

LLAMA = load("llama-2-7b")
SMALL = load("gpt-2-345m")
A100 = load_system("gpu-a100-sxm-80gb")
POLICIES = ("continuous", "disaggregated", "prepacking", "static")


ONE = Emission(1.0, 1)


@dataclass(frozen=True)
class Lines:
    """OPT-13B on one A100 as DistServe's authors fitted it: milliseconds, here in seconds.

    A prompt of l tokens 18.10 + 0.1019 l + 7.12e-6 l^2; a step of n sequences with c tokens
    together 19.93 + 6.27e-4 c + 0.0385 n (shared/facts/techniques.md, #81).
    """

    name: str = "lines"
    emission: Emission = ONE
    chunk: None = None
    techniques: tuple = ()
    link_bytes_per_s: float = 300e9

    def check(self, workload):
        pass

    def footprint(self, model, workload):
        cache = workload.batch * workload.longest * model.cached_elements * 2
        return Footprint(2.0 * model.weights, cache, 0.0, 80 * 2**30)

    def read(self, model, workload):
        tokens = workload.batch * workload.prefill
        return Cost((18.10 + 0.1019 * tokens + 7.12e-6 * tokens * workload.prefill) / 1e3)

    def seconds(self, model, job):
        if job.prompt:
            return self.read(model, Workload(batch=job.batch, prefill=job.new, decode=0)).seconds
        cached = job.batch * job.context
        return (19.93 + 6.27e-4 * cached + 0.0385 * job.batch + 0.1019 * job.extra) / 1e3

    def step(self, model, job):
        return Cost(self.seconds(model, job))

    def turn_seconds(self, model, batch, context):
        return self.seconds(model, Pass(batch, 1, context))


OPT = load("opt-13b")
SOME = st.lists(
    st.builds(Request, st.floats(0, 3), st.integers(1, 900), st.integers(1, 60)),
    min_size=1,
    max_size=12,
).map(lambda found: sorted(found, key=lambda one: one.arrival))


@settings(max_examples=25)
@given(SOME, st.sampled_from(POLICIES), st.sampled_from([None, 1, 3]))
def test_no_request_is_lost_and_many_steps_at_once_are_each_step(requests, policy, sequences):
    chosen = parse_policy(policy + (f":sequences={sequences}" if sequences else ""))
    quick = serve(Lines(), OPT, requests, chosen)
    every = serve(Lines(), OPT, requests, chosen, every_step=True)
    assert [job.request for job in quick.jobs] == requests
    for job, same in zip(quick.jobs, every.jobs, strict=True):
        assert job.request.arrival <= job.begin < job.first < job.end
        for name in ("begin", "first", "end"):
            assert getattr(job, name) == pytest.approx(getattr(same, name), abs=1e-9)
    assert quick.log.held == pytest.approx(0, abs=1)
    assert quick.log.busy == pytest.approx(every.log.busy)
    assert quick.log.most_held <= quick.taken.held - quick.taken.weights
    assert quick.events <= every.events
    if policy in ("continuous", "disaggregated"):
        # Each written token is one sequence's place in one pass.
        decoded = sum(batch * found[0] for (batch, _), found in quick.log.passes.items())
        assert decoded == sum(one.decode for one in requests)
        for (batch, reads), (passes, _, tokens) in quick.log.passes.items():
            assert not reads or batch * passes + tokens <= 512 * passes


@pytest.mark.parametrize("policy", ["continuous:chunk=1000", *POLICIES[1:]])
@pytest.mark.parametrize(
    "system", [A100, load_system("gpu-a100-sxm-80gb", {"software": "hf-eager"})]
)
def test_a_request_alone_takes_what_a_static_batch_of_one_does(policy, system):
    result = simulate_serving(system, SMALL, [Request(1.5, 700, 300)], parse_policy(policy))
    alone = simulate(system, SMALL, Workload(prefill=700, decode=300))
    assert result.ttft_ms == pytest.approx(alone.ttft_ms)
    sent = 700 * SMALL.cached_elements * 2 / A100.link_bytes_per_s * 1e3
    tpot = alone.tpot_ms + (sent / 300 if policy == "disaggregated" else 0)
    assert result.tpot_ms == pytest.approx(tpot, rel=1e-3)


def test_a_batch_that_comes_at_once_takes_what_a_static_batch_does():
    requests = [Request(0.0, 400, 200)] * 16
    result = simulate_serving(A100, LLAMA, requests, parse_policy("static"))
    batch = simulate(A100, LLAMA, Workload(batch=16, prefill=400, decode=200))
    # The first request arrives alone, a moment before the others.
    assert result.percentiles["tpot_ms"]["p99"] < batch.tpot_ms * 1.01
    served = serve(A100, LLAMA, requests, parse_policy("static"))
    assert {batch for batch, _ in served.log.passes} == {1, 15}


@pytest.mark.parametrize("batch", [4, 32])
def test_throughput_saturates_at_the_static_batch(batch):
    limit = simulate(A100, LLAMA, Workload(batch=batch, prefill=300, decode=200)).e2e_tokens_per_s
    rates = []
    for rate in (0.5, 8, 1000):
        requests = draw_requests(rate, 12 * batch, 300, 200, seed=1)
        policy = parse_policy(f"continuous:sequences={batch}")
        rates.append(simulate_serving(A100, LLAMA, requests, policy).e2e_tokens_per_s)
    assert rates == sorted(rates)
    # Chunks of prompts share the weights with steps, so a little more than the batch is possible;
    # the first and the last passes of all have fewer sequences.
    assert rates[-1] == pytest.approx(limit, rel=0.12)


def test_few_requests_are_served_as_they_come():
    requests = draw_requests(0.2, 200, 300, 100, seed=2)
    result = simulate_serving(A100, LLAMA, requests, parse_policy("continuous"))
    assert result.requests_per_s == pytest.approx(0.2, rel=0.15)
    assert result.utilisation == pytest.approx(result.mean_requests, rel=0.2)


@pytest.mark.parametrize("policy", POLICIES)
def test_littles_law(policy):
    requests = draw_requests(3, 300, 300, 60, "exponential", seed=5)
    result = simulate_serving(A100, LLAMA, requests, parse_policy(policy))
    served = serve(A100, LLAMA, requests, parse_policy(policy))
    # The mean number of requests in the system, looked at every 10 ms.
    begin, end = requests[0].arrival, max(job.end for job in served.jobs)
    looks = [begin + 0.01 * n for n in range(int((end - begin) / 0.01))]
    inside = sum(
        sum(job.request.arrival <= now < job.end for job in served.jobs) for now in looks[::7]
    ) / len(looks[::7])
    arrivals = result.requests_per_s
    assert inside == pytest.approx(arrivals * result.percentiles["e2e_ms"]["mean"] / 1e3, rel=0.02)
    assert inside == pytest.approx(result.mean_requests, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_prompts_wait_as_in_a_queue_with_one_server(load):
    # An M/D/1 queue: the mean time is s + load s / (2 (1 - load)), as in DistServe's section 3.
    seconds = Lines().read(OPT, Workload(prefill=512, decode=0)).seconds
    requests = draw_requests(load / seconds, 10_000, 512, 1, seed=7)
    served = serve(Lines(), OPT, requests, parse_policy("disaggregated"))
    mean = sum(job.first - job.request.arrival for job in served.jobs) / len(requests)
    assert mean == pytest.approx(seconds + load * seconds / (2 * (1 - load)), rel=0.06)


def test_two_readers_wait_less_than_one():
    requests = draw_requests(11, 3000, 512, 20, seed=7)
    one, two = (
        simulate_serving(A100, OPT, requests, parse_policy(f"disaggregated:readers={n}"))
        for n in (1, 2)
    )
    assert two.percentiles["ttft_ms"]["mean"] < one.percentiles["ttft_ms"]["mean"]
    assert two.reader_utilisation == pytest.approx(one.reader_utilisation / 2, rel=0.05)


def test_memory_limits_how_many_are_served_at_a_time():
    requests = [Request(0.0, 1500, 500)] * 100
    served = serve(A100, LLAMA, requests, parse_policy("continuous"))
    room = served.taken.held - served.taken.weights - served.taken.working
    fits = room // (2000 * LLAMA.cached_elements * 2)
    assert 10 < fits < 100
    assert max(batch for batch, _ in served.log.passes) == fits
    assert served.log.most_held == fits * 2000 * LLAMA.cached_elements * 2


def test_none_is_overtaken():
    requests = draw_requests(20, 200, 800, 100, "exponential", seed=3)
    served = serve(A100, LLAMA, requests, parse_policy("continuous:sequences=8"))
    for name in ("begin", "first"):
        times = [getattr(job, name) for job in served.jobs]
        assert times == sorted(times)


def test_chunks_keep_others_from_waiting_for_a_long_prompt():
    requests = [Request(0.0, 100, 400), Request(1.0, 8000, 10)]
    step = {
        chunk: max(_gaps(requests, parse_policy(f"continuous:chunk={chunk}")))
        for chunk in (512, 8500)
    }
    assert step[8500] > 5 * step[512]


def _gaps(requests, policy):
    """Return the times of the passes that read prompts while a sequence decodes."""
    times, found = Times.mixed, []

    def noted(self, batch, context, chunks):
        seconds = times(self, batch, context, chunks)
        return found.append(seconds if batch else 0.0) or seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Times, "mixed", noted)
        serve(A100, LLAMA, requests, policy)
    return found


def test_rows_of_packed_prompts():
    assert rows([10]) == 1
    assert rows([10, 5, 5]) == 2
    assert rows([10, 6, 5, 4, 3, 2]) == 3
    assert rows([7, 7, 7]) == 3


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_rows_hold_all_and_are_at_most_twice_as_many_as_needed(lengths):
    needed = -(-sum(lengths) // max(lengths))
    assert needed <= rows(lengths) <= min(2 * needed, len(lengths))


def test_packing_shortens_the_prompts_and_nothing_else():
    requests = [Request(0.0, 1, 1), *[Request(0.0, length, 50) for length in (900, *[90] * 20)]]
    static, packed = (
        serve(A100, LLAMA, requests, parse_policy(p)) for p in ("static", "prepacking")
    )
    assert static.log.reads == {(1, 1): 1, (21, 900): 1}
    assert packed.log.reads == {(1, 1): 1, (3, 900): 1}
    assert packed.jobs[-1].first < static.jobs[-1].first / 4


def test_guessed_tokens_make_fewer_passes():
    system = treat(A100, LLAMA, [parse("speculative:accept=1,depth=3")])
    served = serve(system, LLAMA, [Request(0.0, 100, 200)], parse_policy("continuous"))
    assert sum(found[0] for (batch, _), found in served.log.passes.items() if batch) == 50
    result = simulate_serving(system, LLAMA, [Request(0.0, 100, 200)], parse_policy("continuous"))
    alone = simulate(system, LLAMA, Workload(prefill=100, decode=200))
    assert result.tpot_ms == pytest.approx(alone.tpot_ms, rel=2e-3)


def test_a_sparser_cache_serves_more_at_a_time():
    requests = [Request(0.0, 3000, 1500)] * 100
    most = []
    for techniques in ([], [parse("kv-quantisation:bits=4")]):
        served = serve(treat(A100, LLAMA, techniques), LLAMA, requests, parse_policy("continuous"))
        most.append(max(batch for batch, _ in served.log.passes))
    assert most[1] > 2 * most[0]


def test_goodput_counts_those_that_keep_both_limits():
    requests = draw_requests(6, 200, 500, 60, "exponential", seed=5)
    policy = parse_policy("continuous")
    shares = []
    for ttft, tpot in ((1e9, 1e9), (60, 1e9), (60, 14), (1e-3, 14)):
        result = simulate_serving(A100, LLAMA, requests, policy, Limits(ttft, tpot))
        good = result.goodput_share * result.requests_per_s
        assert result.goodput_requests_per_s == pytest.approx(good)
        shares.append(result.goodput_share)
    assert shares[0] == 1
    assert shares[0] > shares[1] > shares[2] > shares[3] == 0


def test_percentiles_are_of_the_values_themselves():
    found = percentiles(range(1, 201))
    assert found == {"p50": 100, "p90": 180, "p99": 198, "mean": 100.5}
    assert percentiles([3.0]) == {"p50": 3, "p90": 3, "p99": 3, "mean": 3}


def test_energy_is_between_rest_and_the_limit():
    requests = draw_requests(3, 100, 300, 60, seed=5)
    for policy, machines in (("continuous", 1), ("disaggregated", 2)):
        result = simulate_serving(A100, LLAMA, requests, parse_policy(policy))
        watts = result.joules_per_token * result.e2e_tokens_per_s
        assert machines * 400 * A100.own.idle < watts < machines * 400


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("continous", "there is no policy 'continous'; the nearest are continuous; known are"),
        ("continuous:chunks=4", "continuous: there is no option 'chunks'; the nearest are chunk"),
        ("continuous:chunk=0", "continuous: chunk is 0; input should be greater than 0"),
    ],
)
def test_policies_that_are_not(policy, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_policy(policy)


def test_what_a_system_cannot_serve_is_refused():
    one = [Request(0.0, 100, 100)]
    with pytest.raises(ValueError, match=r"^continuous: chunk is 64; more than the 256 sequences"):
        serve(A100, LLAMA, one, parse_policy("continuous:chunk=64"))
    with pytest.raises(ValueError, match=r"^llama-2-7b needs .* too few"):
        serve(A100, LLAMA, [*one, Request(1.0, 200_000, 10)], parse_policy("continuous"))
    board = load_system("flightllm-u280")
    with pytest.raises(ValueError, match=r"^disaggregated: no link of flightllm-u280 is known"):
        serve(board, LLAMA, one, parse_policy("disaggregated"))
    with pytest.raises(ValueError, match=r"^batch is 8; flightllm-u280 decodes 1 sequence"):
        serve(board, LLAMA, one, parse_policy("continuous:sequences=8"))


def test_ten_thousand_requests_take_seconds():
    requests = draw_requests(10, 10_000, 512, 128, "exponential", seed=1)
    begin = time.process_time()
    result = simulate_serving(A100, LLAMA, requests, parse_policy("continuous"))
    assert time.process_time() - begin < 60
    assert result.requests == 10_000
    assert result.utilisation > 0.9


def test_times_of_many_passes_are_the_sum_of_each():
    times = Times(load_system("gpu-a100-sxm-80gb", {"software": "hf-eager"}), SMALL)
    each = sum(times.steps(24, 100.5 + n, 1) for n in range(1500))
    assert times.steps(24, 100.5, 1500) == pytest.approx(each)
    exact = sum(times.system.seconds(SMALL, Pass(24, 1, 100 + n)) for n in range(1500))
    assert times.steps(24, 100, 1500) == pytest.approx(exact, rel=1e-3)
    for seconds in (0.0, 0.01, 1.0, 3.0):
        count = times.fitting(24, 100, 1500, seconds)
        assert count == 1 or times.steps(24, 100, count - 1) < seconds
        assert count == 1500 or times.steps(24, 100, count) >= seconds


def test_a_machine_without_requests_waits_for_ever():
    import simpy

    env = simpy.Environment()
    machine = ContinuousMachine(env, Times(A100, SMALL), 1e9, 4, False, chunk=64)
    env.process(machine.run())
    env.run(until=100)
    assert machine.log.busy == 0


def test_published_throughputs_under_full_load():
    alone = [case for case in published.cases() if case.system.devices == 1]
    some = [case for case in alone if case.point.held_out]
    errors = [abs(published.serve(case).error) for case in some]
    assert len(errors) >= 8
    assert median(errors) < 0.12


def test_a_pass_that_reads_prompts_pays_for_weights_once_and_for_each_attention():
    times = Times(A100, LLAMA)
    chunks = [(200, 6000), (56, 56)]
    shared = A100.seconds(LLAMA, Pass(8, 1, 512, extra=256)) - A100.seconds(LLAMA, Pass(8, 1, 512))
    attention = sum(
        A100.step(LLAMA, Pass(1, *chunk, prompt=True)).parts["KV attention"] for chunk in chunks
    )
    found = times.mixed(8, 700, chunks) - times.steps(8, 700, 1)
    assert found == pytest.approx(shared + attention)
    alone = A100.seconds(LLAMA, Pass(1, 200, 6000, prompt=True))
    assert times.mixed(0, 0, chunks[:1]) == pytest.approx(alone)
    assert alone < times.mixed(0, 0, chunks) < alone + times.mixed(0, 0, chunks[1:])
