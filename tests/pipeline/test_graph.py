"""What the graph does to spare Beam work changes nothing of what Beam sees."""

import copy

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.transforms.userstate import get_dofn_specs

from pipeline import graph

DOFNS = [kind for kind in vars(graph).values() if isinstance(kind, type) and issubclass(kind, beam.DoFn)]


def test_views_are_kept_and_share_their_values() -> None:
    flags = ["--direct_num_workers=3", "--runner=FnApiRunner"]
    options = graph.Options(flags)
    view = options.view_as(DirectOptions)
    assert view is options.view_as(DirectOptions) and view.direct_num_workers == 3
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    assert options.get_all_options() == PipelineOptions(flags).get_all_options()
    view.direct_num_workers = 5
    copied = copy.deepcopy(options)  # as a pipeline takes them
    assert copied.view_as(DirectOptions).direct_num_workers == 5
    copied.view_as(DirectOptions).direct_num_workers = 7
    assert copied.get_all_options()["direct_num_workers"] == 7
    assert view.direct_num_workers == options.get_all_options()["direct_num_workers"] == 5


@pytest.mark.parametrize("kind", DOFNS, ids=lambda kind: kind.__name__)
def test_no_method_but_process_could_have_state_or_timers(kind: type[beam.DoFn]) -> None:
    """Beam looks for them in what dir() names: that must be all that we define."""
    made = kind.__new__(kind)
    ours = {name for of in kind.mro() if of.__module__ == graph.__name__ for name in vars(of)}
    assert {name for name in ours if not name.startswith("_")} <= set(dir(made)) == {"process"}
    assert get_dofn_specs(made) == (set(), set())
