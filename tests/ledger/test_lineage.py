"""The lineage graph, and its three drawings."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Make, made
from undercroft.errors import NotFound
from undercroft.ledger import Ledger
from undercroft.ledger.draw import as_json, as_svg, as_text
from undercroft.ledger.layout import arrange
from undercroft.records import Artifact, Edge, Footprint, Lineage, Node

Diamond = dict[str, Artifact]


@pytest.fixture
def diamond(make: Make) -> Diamond:
    """raw -> dataset -> (examples, index) -> scorecard, which also takes the dataset."""
    raw = make("raw", stage="collect")
    dataset = make("dataset", raw, stage="curate")
    examples = make("examples", dataset, stage="examples")
    index = make("index", dataset, stage="index")
    scorecard = make("scorecard", examples, index, dataset, stage="evaluate")
    unrelated = make("model", raw, stage="train")
    return {
        "raw": raw,
        "dataset": dataset,
        "examples": examples,
        "index": index,
        "scorecard": scorecard,
        "model": unrelated,
    }


def artifact_ids(lineage: Lineage) -> set[str]:
    return {node.id for node in lineage.nodes if node.kind != "run"}


def test_upwards_is_everything_it_was_made_from(ledger: Ledger, diamond: Diamond) -> None:
    found = ledger.lineage("scorecard:docs", "up")
    assert found.root == "scorecard:docs@1"
    wanted = {"raw", "dataset", "examples", "index", "scorecard"}
    assert artifact_ids(found) == {str(diamond[name]) for name in wanted}
    assert len(found.nodes) == 10  # as many runs as artifacts
    assert len({node.id for node in found.nodes}) == 10
    assert len(set(found.edges)) == len(found.edges) == 5 + 6  # made by, made from


def test_downwards_is_everything_made_of_it(ledger: Ledger, diamond: Diamond) -> None:
    found = ledger.lineage("dataset:docs@1", "down")
    wanted = {"dataset", "examples", "index", "scorecard"}
    assert artifact_ids(found) == {str(diamond[name]) for name in wanted}


def test_both_leaves_out_what_only_shares_an_ancestor(ledger: Ledger, diamond: Diamond) -> None:
    found = ledger.lineage(diamond["dataset"].ref)
    assert "model:docs@1" not in artifact_ids(found)
    assert {"raw:docs@1", "scorecard:docs@1"} <= artifact_ids(found)


def test_edges_point_from_what_was_used_to_what_was_made(ledger: Ledger, diamond: Diamond) -> None:
    run = f"run:{diamond['dataset'].run_id}"
    for direction in ("up", "both"):
        edges = ledger.lineage("dataset:docs", direction).edges
        assert Edge("raw:docs@1", run) in edges
        assert Edge(run, "dataset:docs@1") in edges


def test_depth_counts_runs(ledger: Ledger, diamond: Diamond) -> None:
    assert artifact_ids(ledger.lineage("raw:docs", "down", depth=0)) == {"raw:docs@1"}
    one = ledger.lineage("raw:docs", "down", depth=1)
    assert artifact_ids(one) == {"raw:docs@1", "dataset:docs@1", "model:docs@1"}
    assert "scorecard:docs@1" in artifact_ids(ledger.lineage("raw:docs", "down", depth=3))


def test_runs_under_way_show_and_failed_ones_do_not(ledger: Ledger, make: Make) -> None:
    raw = make("raw")
    failed = ledger.begin_run("curate", "f", {}, [raw])
    ledger.fail_run(failed.id, "no", Footprint())
    running = ledger.begin_run("curate", "r", {}, [raw])
    ids = {node.id for node in ledger.lineage("raw:docs", "down").nodes}
    assert ids == {"raw:docs@1", f"run:{running.id}"}


def test_lineage_of_what_is_not_there_names_the_nearest(ledger: Ledger, make: Make) -> None:
    make("raw")
    with pytest.raises(NotFound, match="raw:docs"):
        ledger.lineage("raw:dosc")


def test_a_long_chain_takes_few_queries_and_no_recursion(ledger: Ledger) -> None:
    artifact: list[Artifact] = []
    for number in range(60):
        run = ledger.begin_run("curate", f"k{number}", {}, artifact)
        artifact = ledger.finish_run(run.id, [made()], Footprint())
    found = ledger.lineage("dataset:docs@1")
    assert len(found.nodes) == 120
    assert as_text(found).count("\n") > 115
    assert as_svg(found).count("<rect") == 120


def test_the_tree_shows_a_node_once_and_then_refers_to_it(ledger: Ledger, diamond: Diamond) -> None:
    text = as_text(ledger.lineage("scorecard:docs", "up"))
    text = re.sub(r"-[0-9a-f]{12}", "-ID", text)
    assert text == (
        "scorecard:docs@1\n"
        "\n"
        "made from\n"
        "└── evaluate · evaluate-ID · 1.0 s\n"
        "    ├── examples:docs@1\n"
        "    │   └── examples · examples-ID · 1.0 s\n"
        "    │       └── dataset:docs@1\n"
        "    │           └── curate · curate-ID · 1.0 s\n"
        "    │               └── raw:docs@1\n"
        "    │                   └── collect · collect-ID · 1.0 s\n"
        "    ├── index:docs@1\n"
        "    │   └── index · index-ID · 1.0 s\n"
        "    │       └── dataset:docs@1 (see above)\n"
        "    └── dataset:docs@1 (see above)"
    )


def test_the_tree_has_both_directions(ledger: Ledger, diamond: Diamond) -> None:
    lines = as_text(ledger.lineage("dataset:docs")).splitlines()
    assert lines[0] == "dataset:docs@1"
    assert "made from" in lines
    assert "used for" in lines
    assert sum(line.endswith("scorecard:docs@1") for line in lines) == 1


def test_json_holds_the_whole_graph(ledger: Ledger, diamond: Diamond) -> None:
    found = ledger.lineage("scorecard:docs")
    read = json.loads(json.dumps(as_json(found)))
    assert read["root"] == "scorecard:docs@1"
    assert len(read["nodes"]) == len(found.nodes)
    assert {(edge["source"], edge["target"]) for edge in read["edges"]} == {
        (edge.source, edge.target) for edge in found.edges
    }


def test_the_picture_names_everything_and_is_whole_xml(ledger: Ledger, diamond: Diamond) -> None:
    svg = as_svg(ledger.lineage("dataset:docs"))
    root = ET.fromstring(svg)
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"raw:docs@1", "dataset:docs@1", "scorecard:docs@1", "curate"} <= texts
    assert "prefers-color-scheme:dark" in svg
    assert "<a " not in svg


def test_the_picture_links_where_it_is_told_to(ledger: Ledger, diamond: Diamond) -> None:
    def link(node: Node) -> str | None:
        return None if node.kind == "run" else f"/artifact?ref={node.id}&x=1"

    svg = as_svg(ledger.lineage("raw:docs", depth=0), link)
    assert 'href="/artifact?ref=raw:docs@1&amp;x=1"' in svg
    ET.fromstring(svg)


def test_labels_cannot_break_out_of_the_picture() -> None:
    nasty = '<script>alert("1")</script>'
    node = Node("answer:1", "answer", nasty, {"question": nasty})
    svg = as_svg(Lineage("answer:1", (node,), ()), lambda _: 'javascript:"<>')
    assert "<script>" not in svg
    ET.fromstring(svg)


@st.composite
def graphs(draw: st.DrawFn) -> Lineage:
    """Directed graphs without cycles, of nodes with labels of many lengths."""
    size = draw(st.integers(1, 14))
    nodes = tuple(
        Node(f"n{i}", draw(st.sampled_from(["run", "model"])), "x" * draw(st.integers(1, 30)))
        for i in range(size)
    )
    pairs = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))
    chosen = draw(st.sets(pairs, max_size=30))
    edges = tuple(Edge(f"n{a}", f"n{b}") for a, b in sorted(chosen) if a < b)
    return Lineage("n0", nodes, edges)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_no_boxes_overlap_and_nothing_leaves_the_picture(lineage: Lineage) -> None:
    root = ET.fromstring(as_svg(lineage))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) == len(lineage.nodes)
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for index, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:index]:
            assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_lines_lead_downwards_and_keep_clear_of_boxes(lineage: Lineage) -> None:
    widths = {node.id: 10.0 * len(node.label) for node in lineage.nodes}
    layout = arrange(widths, [(edge.source, edge.target) for edge in lineage.edges], 20.0)
    assert len(layout.paths) == len(lineage.edges)
    for (source, target), path in layout.paths.items():
        rows = [layout.layer[name] for name in path]
        assert rows == list(range(layout.layer[source], layout.layer[target] + 1))
        for bend in path[1:-1]:
            for other, size in widths.items():
                if layout.layer[other] == layout.layer[bend]:
                    assert abs(layout.x[other] - layout.x[bend]) > size / 2


def test_a_cycle_is_drawn_all_the_same() -> None:
    nodes = tuple(Node(name, "model", name) for name in "abc")
    edges = (Edge("a", "b"), Edge("b", "c"), Edge("c", "a"))
    svg = as_svg(Lineage("a", nodes, edges))
    assert svg.count('class="edge"') == 3
