"""Promise 1: the same inputs and recipe give the same files, however and wherever the work is done."""

import random
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import graph
from pipeline.phase import Job, Step
from pipeline.plan import make_plan, save_plan
from pipeline.recipe_file import load_recipe
from pipeline.runners import run_job
from pipeline.storage import Storage
from pipeline.sweep import sweep


@pytest.fixture
def job(small_settings: tuple[str, ...], tmp_path: Path) -> Job:
    """A planned run that is still to be made."""
    storage = Storage.open(str(tmp_path))
    plan = make_plan(load_recipe("quickstart", small_settings), storage)
    save_plan(plan, storage)
    return plan.job(str(tmp_path), accept_missing=False)


def test_baseline_is_what_it_should_be(small_run, said_by) -> None:
    names = set(said_by(small_run))
    assert sum(name.startswith("documents/") and name.endswith(".json") for name in names) > 10
    assert sum(name.startswith("tokens/train-") for name in names) > 1
    assert not any(name.startswith("work/exchange/") and name.endswith(".arrow") for name in names)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_number_of_workers(workers: int, small_run, run_small, said_by, tmp_path: Path) -> None:
    run_small(tmp_path, workers=workers)
    assert said_by(tmp_path) == said_by(small_run)


def test_order_of_work_and_repeated_bundles(
    job: Job, small_run, said_by, tmp_path: Path, monkeypatch
) -> None:
    """Every plan shuffled, every bundle run three times, all phases in one job."""
    for name, step in graph.STEPS.items():

        def shuffled(job: Job, step: Step = step) -> list[tuple[int, bytes]]:
            work = list(step.plan(job))
            random.Random(7).shuffle(work)
            return work

        monkeypatch.setitem(graph.STEPS, name, replace(step, plan=shuffled))
    run_job(job, graph.phases_of(job.recipe), "direct", 1, ["--direct_runner_bundle_repeat=2"])
    sweep(job)
    assert said_by(tmp_path) == said_by(small_run)


def test_portable_job_service(job: Job, small_run, said_by, tmp_path: Path) -> None:
    """Another way into the same engine: a job service over gRPC, workers looped back into this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = "apache_beam.runners.portability.local_job_service_main"
    service = subprocess.Popen(
        [sys.executable, "-m", module, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert service.poll() is None, "the job service did not start"
            time.sleep(0.1)
        flags = [f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
        run_job(job, graph.phases_of(job.recipe), "portable", 1, flags)
        sweep(job)
    finally:
        service.terminate()
        service.wait()
    assert said_by(tmp_path) == said_by(small_run)


def test_every_shuffle_carries_integers_and_bytes(job: Job) -> None:
    """The pipeline's own proto: what goes into a GroupByKey is coded as (varint, bytes) and nothing is
    pickled.
    """
    pipeline = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([]))
    phases = graph.phases_of(job.recipe)
    graph.build(pipeline, job, phases)
    components = pipeline.to_runner_api().components
    shuffles = [t for t in components.transforms.values() if t.spec.urn == "beam:transform:group_by_key:v1"]
    steps = [step for phase in phases for step in phase.steps]
    assert len(shuffles) == sum(2 + len(step.scatters) for step in steps)
    for shuffle in shuffles:
        (source,) = shuffle.inputs.values()
        coder = components.coders[components.pcollections[source].coder_id]
        assert coder.spec.urn == "beam:coder:kv:v1"
        key, value = (components.coders[name].spec.urn for name in coder.component_coder_ids)
        assert (key, value) == ("beam:coder:varint:v1", "beam:coder:bytes:v1")
